"""Runs prompts one after another: what is cached, what must run, which events tell of it, what history keeps."""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from fake_runtime import images
from fake_runtime.comfyui.files import OutsideFolderError
from fake_runtime.comfyui.node_types import Context, NodeClass, Result, Shelf
from fake_runtime.comfyui.queue import Item, PromptQueue
from fake_runtime.comfyui.version import Version
from fake_runtime.comfyui.websocket import Sockets
from fake_runtime.faults import FaultBook, FaultName
from fake_runtime.gpu.device import Gpu, Job, JobInterruptedError
from fake_runtime.gpu.memory import OutOfMemoryError
from fake_runtime.gpu.work import Work

type Prompt = Mapping[str, Any]

log = structlog.get_logger(__name__)

PREVIEW_PIXELS = 128
PROMPT_CHARACTERS_KEPT = 2000
_OUT_OF_MEMORY_TIPS = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)
# Where the original puts its own stack trace, server paths included.
_TRACEBACK = ['  File "/ComfyUI/execution.py", line 498, in execute\n']


def is_link(value: Any) -> bool:
    """Whether an input comes from another node."""
    return isinstance(value, list)


def prompt_text(prompt: Prompt) -> str:
    """All texts in a prompt's widgets, a line each: what faults are looked for in, and jobs are known by."""
    return "\n".join(
        value for node in prompt.values() for value in node.get("inputs", {}).values() if isinstance(value, str)
    )


def signatures(prompt: Prompt, file_hashes: Mapping[str, str]) -> dict[str, str]:
    """For each node a digest of all that its result depends on: class, widgets, named files, and the same upstream.

    Nodes upstream of which something is amiss are left out.

    Args:
        prompt: node id to node.
        file_hashes: digests of the files that loader nodes name, by node id.
    """
    known: dict[str, str | None] = {}

    def sign(node_id: str) -> str | None:
        if node_id in known:
            return known[node_id]
        known[node_id] = None  # A cycle comes back here.
        node = prompt.get(node_id)
        if node is None:
            return None
        parts: list[Any] = [node["class_type"], file_hashes.get(node_id)]
        for name, value in sorted(node.get("inputs", {}).items()):
            if not is_link(value):
                parts.append([name, value])
                continue
            source = sign(str(value[0])) if len(value) == 2 else None
            if source is None:
                return None
            parts.append([name, source, value[1]])
        known[node_id] = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
        return known[node_id]

    for node_id in prompt:
        sign(node_id)
    return {node_id: signature for node_id, signature in known.items() if signature is not None}


def run_order(prompt: Prompt, outputs: list[str], cached: frozenset[str]) -> list[str]:
    """The nodes to go through, dependencies first; cached ones only if they are outputs themselves."""
    order: list[str] = []

    def visit(node_id: str) -> None:
        if node_id in order:
            return
        if node_id not in cached:
            for value in prompt[node_id]["inputs"].values():
                if is_link(value) and str(value[0]) not in cached:
                    visit(str(value[0]))
        order.append(node_id)

    for output in outputs:
        visit(output)
    return order


class _OrderedError(Exception):
    """An error that a fault orders."""


@dataclass(slots=True)
class _Run:
    """The prompt that runs."""

    item: Item
    client_id: str | None
    signatures: dict[str, str]
    job: Job
    seconds_per_step: float | None = None
    seconds_per_node: float | None = None
    struck_node: str | None = None
    executed: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    messages: list[list[Any]] = field(default_factory=list)
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)


def as_shown(shown: dict[str, Any] | None, version: Version) -> dict[str, Any] | None:
    """What an output node shows, as a version tells it.

    One of today leaves out that a picture is not animated; one with assets gives each file an id.
    """
    if shown is None or not version.current:
        return shown
    shown = {key: value for key, value in shown.items() if (key, value) != ("animated", [False])}
    if version.assets:
        shown = {
            key: [_as_asset(item) for item in value] if isinstance(value, list) else value
            for key, value in shown.items()
        }
    return shown


def _as_asset(item: Any) -> Any:
    is_file = isinstance(item, dict) and "filename" in item
    return {**item, "id": str(uuid.uuid4()), "preview_id": None} if is_file else item


def exception_name(error: Exception, *, current: bool = False) -> str:
    """The full name of an exception's type, as error events show it."""
    if current and isinstance(error, IsADirectoryError):
        # PyAV opens what LoadImage names.
        return "av.error.IsADirectoryError"
    if isinstance(error, OutOfMemoryError):
        return "torch.OutOfMemoryError"
    if isinstance(error, OutsideFolderError):
        return "Exception"
    if isinstance(error, _OrderedError):
        return "RuntimeError"
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def exception_message(error: Exception) -> str:
    """The text of an exception with its tips, as error events show it."""
    if isinstance(error, OutOfMemoryError):
        return f"Allocation on device \n{_OUT_OF_MEMORY_TIPS}"
    return f"{error}\n"


class Executor:
    """The worker of one server."""

    def __init__(
        self, gpu: Gpu, faults: FaultBook, shelf: Shelf, queue: PromptQueue, sockets: Sockets, *, previews: bool
    ) -> None:
        self._gpu = gpu
        self._faults = faults
        self._files = shelf.files
        self._version = shelf.version
        self._classes = shelf.classes
        self._queue = queue
        self._sockets = sockets
        self._previews = previews
        self._cache: dict[str, Result] = {}
        self._unload = False
        self._forget = False

    async def work(self) -> None:
        """Takes prompts from the queue, for ever."""
        while True:
            item = await self._queue.get()
            async with self._gpu.turn():
                try:
                    await self._work_on(item)
                except Exception:
                    # A mistake of ours must not leave all later prompts waiting for ever.
                    log.exception("a prompt could not be run", prompt_id=item.prompt_id)
                    self._queue.done({}, {}, {"status_str": "error", "completed": False, "messages": []})
            self._free()

    def free(self, *, unload_models: bool, free_memory: bool) -> None:
        """Unloads models and empties the cache, now if idle, else after the running prompt."""
        self._unload = self._unload or unload_models or free_memory
        self._forget = self._forget or free_memory
        if self._queue.running is None:
            self._free()

    def _free(self) -> None:
        if self._unload:
            self._gpu.model = None
        if self._forget:
            self._cache.clear()
        self._unload = self._forget = False

    def interrupt(self) -> None:
        """Asks the running prompt to stop at the next node or step."""
        if self._gpu.job is not None:
            self._gpu.job.interrupt()

    async def _work_on(self, item: Item) -> None:
        text = prompt_text(item.prompt)
        faults = self._faults.take(text, "run")
        client_id = item.extra_data.get("client_id")
        self._sockets.client_id = client_id
        signed = signatures(item.prompt, self._file_hashes(item.prompt))
        # Only what the present prompt can use is kept, as in the original's default cache.
        self._cache = {s: self._cache[s] for s in signed.values() if s in self._cache}
        cached = [node_id for node_id in item.prompt if signed.get(node_id) in self._cache]
        if FaultName.CACHED_AND_EMPTY in faults:
            cached = list(item.prompt)
        order = run_order(item.prompt, item.outputs, frozenset(cached))
        to_run = [node_id for node_id in order if node_id not in cached]
        succeeded = True
        with self._gpu.running(
            "prompt", text[:PROMPT_CHARACTERS_KEPT], faults, identifier=item.prompt_id, cached=not to_run
        ) as job:
            run = _Run(item, client_id, signed, job)
            self._plan_time(run, to_run)
            self._tell(run, "execution_start", {"prompt_id": item.prompt_id})
            self._tell(run, "execution_cached", {"nodes": cached, "prompt_id": item.prompt_id})
            if FaultName.CACHED_AND_EMPTY not in faults:
                succeeded = await self._go_through(run, order)
            if not succeeded and not job.interrupted:
                job.record.outcome = "failed"
            job.record.images = sum(len(files) for shown in run.outputs.values() for files in shown.values())
            if not succeeded and run.messages[-1][1].get("exception_type") == "torch.OutOfMemoryError":
                job.record.outcome = "out-of-memory"
        if succeeded:
            self._tell(run, "execution_success", {"prompt_id": item.prompt_id})
        else:
            run.outputs, run.meta = {}, {}
        self._sockets.last_node_id = None
        status = {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": run.messages,
        }
        self._queue.done(run.outputs, run.meta, status)
        if client_id is not None:
            self._sockets.send("executing", {"node": None, "prompt_id": item.prompt_id}, client_id)

    def _file_hashes(self, prompt: Prompt) -> dict[str, str]:
        hashes: dict[str, str] = {}
        for node_id, node in prompt.items():
            name = self._classes[node["class_type"]].file_input
            value = node.get("inputs", {}).get(name)
            path = self._files.find(value) if isinstance(value, str) else None
            if path is not None:
                hashes[node_id] = hashlib.sha256(path.read_bytes()).hexdigest()
        return hashes

    def _plan_time(self, run: _Run, to_run: list[str]) -> None:
        """Chooses the node that faults strike, and shares out a fixed time: over sampling steps, else over nodes."""
        prompt = run.item.prompt
        sampling = [node_id for node_id in to_run if "steps" in self._classes[prompt[node_id]["class_type"]].required]
        run.struck_node = next(iter([*sampling, *to_run]), None)
        seconds = self._gpu.latency.seconds_per_task
        if seconds is None or not to_run:
            return
        steps = [prompt[node_id]["inputs"]["steps"] for node_id in sampling]
        if steps and all(isinstance(number, int) for number in steps):
            run.seconds_per_step, run.seconds_per_node = seconds / sum(steps), 0.0
        else:
            run.seconds_per_node = seconds / len(to_run)

    def _tell(self, run: _Run, event: str, data: dict[str, Any], *, everybody: bool = False) -> None:
        """Sends an event that history remembers; without a client id it goes to nobody, unless it is for everybody."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        run.messages.append([event, data])
        if run.client_id is not None or everybody:
            self._sockets.send(event, data, run.client_id)

    def _tell_client(self, run: _Run, event: str, data: dict[str, Any]) -> None:
        if run.client_id is not None:
            self._sockets.send(event, {**data, "prompt_id": run.item.prompt_id}, run.client_id)

    def _show_progress(self, run: _Run, node_id: str, state: str, value: float, maximum: float) -> None:
        run.progress[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": run.item.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        # A prompt without a client id has its progress shown to everybody.
        data = {"prompt_id": run.item.prompt_id, "nodes": run.progress}
        self._sockets.send("progress_state", data, run.client_id)

    async def _go_through(self, run: _Run, order: list[str]) -> bool:
        prompt_json = json.dumps(run.item.prompt)
        for node_id in order:
            node = run.item.prompt[node_id]
            values: dict[str, Any] = {}
            try:
                cached = self._cache.get(run.signatures.get(node_id, ""))
                if cached is not None:
                    self._show(run, node_id, cached.shown, always=True)
                    self._show_progress(run, node_id, "finished", 1.0, 1.0)
                    run.executed.append(node_id)
                    continue
                self._sockets.last_node_id = node_id
                self._show_progress(run, node_id, "running", 0.0, 1.0)
                self._tell_client(run, "executing", {"node": node_id, "display_node": node_id})
                run.job.check()
                values = self._values(run, node)
                result = await self._execute(run, node_id, values, prompt_json)
            except JobInterruptedError:
                data = {"prompt_id": run.item.prompt_id, "node_id": node_id, "node_type": node["class_type"]}
                self._tell(run, "execution_interrupted", {**data, "executed": run.executed}, everybody=True)
                return False
            except Exception as error:  # noqa: BLE001 - whatever a node raises becomes an event, as in the original
                self._tell_error(run, node_id, values, error)
                return False
            if node_id in run.signatures and not result.sent and not result.goes_on:
                self._cache[run.signatures[node_id]] = result
            for picture in result.sent:
                self._sockets.send_picture(picture)
            if result.goes_on:
                self._queue.put(
                    run.item.number, str(uuid.uuid4()), run.item.prompt, run.item.extra_data, run.item.outputs
                )
            self._show(run, node_id, result.shown)
            maximum = run.progress[node_id]["max"]
            self._show_progress(run, node_id, "finished", maximum, maximum)
            run.executed.append(node_id)
        return True

    def _values(self, run: _Run, node: dict[str, Any]) -> dict[str, Any]:
        """What a node's inputs are, links resolved; unknown inputs are left out."""
        node_class = self._classes[node["class_type"]]
        values: dict[str, Any] = {}
        for name, value in node["inputs"].items():
            if not node_class.takes(name):
                continue
            if is_link(value):
                values[name] = self._cache[run.signatures[str(value[0])]].values[value[1]]
            else:
                values[name] = value
        return values

    def _show(self, run: _Run, node_id: str, shown: dict[str, Any] | None, *, always: bool = False) -> None:
        """Tells what an output node shows; of a cached one even when that is nothing."""
        if shown is None and not always:
            return
        if shown is not None and FaultName.ZERO_IMAGES in run.job.record.faults:
            shown = {key: [] for key in shown}
        self._tell_client(run, "executed", {"node": node_id, "display_node": node_id, "output": shown})
        if shown is not None:
            run.outputs[node_id] = shown
            meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            run.meta[node_id] = meta

    def _tell_error(self, run: _Run, node_id: str, values: dict[str, Any], error: Exception) -> None:
        if isinstance(error, OutOfMemoryError):
            self._gpu.model = None
        log.info("a node failed", prompt_id=run.item.prompt_id, node_id=node_id, error=str(error))
        data = {
            "prompt_id": run.item.prompt_id,
            "node_id": node_id,
            "node_type": run.item.prompt[node_id]["class_type"],
            "executed": run.executed,
            "exception_message": exception_message(error),
            "exception_type": exception_name(error, current=self._version.current),
            "traceback": _TRACEBACK,
            "current_inputs": {
                name: [value if isinstance(value, str | int | float | bool) else str(type(value).__name__)]
                for name, value in values.items()
            },
            "current_outputs": list(run.item.prompt),
        }
        self._tell(run, "execution_error", data)

    async def _execute(self, run: _Run, node_id: str, values: dict[str, Any], prompt_json: str) -> Result:
        node_class = self._classes[run.item.prompt[node_id]["class_type"]]
        work = node_class.work(values, self._gpu.latency)
        if node_id == run.struck_node:
            self._gpu.fail_if_ordered(run.job.faults)
            if (fault := run.job.faults.get(FaultName.ERROR)) is not None:
                raise _OrderedError(fault.message or "something went wrong")
        if work.model is not None:
            await self._gpu.load(work.model)
        try:
            self._gpu.allocate(work.memory)
            await self._let_time_pass(run, node_id, work)
            result = await asyncio.to_thread(self._call, node_class, values, prompt_json)
            return replace(result, shown=as_shown(result.shown, self._version))
        finally:
            self._gpu.release()

    def _call(self, node_class: NodeClass, values: dict[str, Any], prompt_json: str) -> Result:
        return node_class.run(Context(self._files, prompt_json), values)

    async def _let_time_pass(self, run: _Run, node_id: str, work: Work) -> None:
        async def on_step(done: int) -> None:
            self._tell_client(run, "progress", {"value": done, "max": work.steps, "node": node_id})
            self._show_progress(run, node_id, "running", float(done), float(work.steps))
            if self._previews and run.client_id is not None:
                metadata = {key: run.progress[node_id][key] for key in _PREVIEW_METADATA}
                picture = images.render(PREVIEW_PIXELS, PREVIEW_PIXELS, f"{run.item.prompt_id} {done}", "")
                self._sockets.send_preview(images.encode_jpeg(picture), metadata)
            if done == max(1, work.steps // 2):
                await self._drop_websocket(run)

        if work.steps > 0:
            seconds = work.seconds if run.seconds_per_step is None else run.seconds_per_step
            if not await run.job.steps(work.steps, seconds, on_step):
                raise JobInterruptedError
            return
        if node_id == run.struck_node:
            await self._drop_websocket(run)
            await run.job.strike()
        # Nodes without steps notice an interrupt only when they are through.
        await asyncio.sleep(work.seconds if run.seconds_per_node is None else run.seconds_per_node)

    async def _drop_websocket(self, run: _Run) -> None:
        if run.job.faults.pop(FaultName.DROP_WEBSOCKET, None) is not None:
            await self._sockets.drained()
            self._sockets.cut()


_PREVIEW_METADATA = ("node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id")
