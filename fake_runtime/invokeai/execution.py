"""Runs sessions one after another: node by node, from the cache where nothing has changed."""

import asyncio
import json
import traceback
import uuid
from typing import Any

import structlog
from pydantic import BaseModel

from fake_runtime.faults import FaultBook, FaultName
from fake_runtime.gpu.device import Gpu, Job, JobInterruptedError
from fake_runtime.gpu.work import Work
from fake_runtime.invokeai.nodes import KEPT, Workshop
from fake_runtime.invokeai.queue import Item, Queue
from fake_runtime.invokeai.schema import DenoiseLatents, Graph, Node, check_inputs, filled
from fake_runtime.invokeai.store import Images

PROMPT_CHARACTERS_KEPT = 2000

log = structlog.get_logger(__name__)


def graph_text(graph: Graph) -> str:
    """All texts in a graph's nodes, a line each: what faults are looked for in, and jobs are known by."""
    skipped = {"id", "type"}
    return "\n".join(
        value
        for node in graph.nodes.values()
        for name, value in node.model_dump().items()
        if isinstance(value, str) and name not in skipped
    )


class _OrderedError(Exception):
    """An error that a fault orders."""


class Executor:
    """The processor of one server."""

    def __init__(self, gpu: Gpu, faults: FaultBook, store: Images, queue: Queue, models: list[str]) -> None:
        self._gpu = gpu
        self._faults = faults
        self._store = store
        self._queue = queue
        self._models = models
        self._kept: dict[str, Any] = {}
        self.cache: dict[str, BaseModel] = {}
        self.hits = 0
        self.misses = 0
        store.on_deleted = self._forget
        queue.interrupt = self._interrupt

    async def work(self) -> None:
        """Takes items from the queue, for ever."""
        while True:
            item = await self._queue.next()
            async with self._gpu.turn():
                try:
                    await self._run(item)
                except Exception as error:
                    # A mistake of ours must not leave all later items waiting for ever.
                    log.exception("an item could not be run", item_id=item["item_id"])
                    self._fail(item, "", error)
            self._queue.processing = None

    def _interrupt(self) -> None:
        if self._gpu.job is not None:
            self._gpu.job.interrupt()

    def _forget(self, image_name: str) -> None:
        """Lets go of what was cached with an image that is deleted."""
        self.cache = {key: output for key, output in self.cache.items() if image_name not in output.model_dump_json()}

    async def _run(self, item: Item) -> None:
        session = item["session"]
        graph = Graph.model_validate(session["graph"])
        text = graph_text(graph)
        faults = self._faults.take(text, "run")
        workshop = Workshop(
            self._store, self._models, self._kept, session["id"], json.dumps(graph.model_dump(exclude_none=True))
        )
        with self._gpu.running("graph", text[:PROMPT_CHARACTERS_KEPT], faults, identifier=item["batch_id"]) as job:
            if item["status"] != "in_progress":
                # Cancelled between its turn and its beginning.
                job.interrupt()
            self._copy_nodes(session, graph)
            await self._go_through(item, graph, workshop, job)
            if item["status"] == "failed":
                memory = item["error_type"] == "OutOfMemoryError"
                job.record.outcome = "out-of-memory" if memory else "failed"
            job.record.images = sum("image" in result for result in session["results"].values())
        if FaultName.ZERO_IMAGES in faults:
            session["results"] = {}
        self._queue.save(item)
        self._queue.set_status(item, "completed")

    def _copy_nodes(self, session: dict[str, Any], graph: Graph) -> None:
        """Gives each node the id under which it runs."""
        prepared = {str(uuid.uuid4()): name for name in graph.order()}
        session["prepared_source_mapping"] = prepared
        session["source_prepared_mapping"] = {name: [copy] for copy, name in prepared.items()}
        session["execution_graph"]["nodes"] = {
            copy: {**graph.nodes[name].model_dump(exclude_none=True), "id": copy} for copy, name in prepared.items()
        }

    async def _go_through(self, item: Item, graph: Graph, workshop: Workshop, job: Job) -> None:
        session = item["session"]
        outputs: dict[str, BaseModel] = {}
        sampling = [name for name, node in graph.nodes.items() if isinstance(node, DenoiseLatents)]
        struck = next(iter([*sampling, *graph.order()]), None)
        share = self._share(graph)
        for prepared, name in session["prepared_source_mapping"].items():
            if job.interrupted:
                return
            try:
                inputs = {
                    edge.destination.field: getattr(outputs[edge.source.node_id], edge.source.field)
                    for edge in graph.edges
                    if edge.destination.node_id == name
                }
                node = filled(graph.nodes[name], {**inputs, "id": prepared})
                outputs[name] = await self._run_node(node, workshop, job, share, struck=name == struck)
            except JobInterruptedError:
                return
            except Exception as error:  # noqa: BLE001 - whatever a node raises fails the item, as in the original
                self._fail(item, prepared, error)
                return
            session["results"][prepared] = outputs[name].model_dump(exclude_none=True)
            session["executed"] += [prepared, name]
            session["executed_history"].append(name)

    async def _run_node(
        self, node: Node, workshop: Workshop, job: Job, share: float | None, *, struck: bool
    ) -> BaseModel:
        """Runs a node, or finds what it put out before.

        Args:
            node: with all its inputs.
            workshop: runs it.
            job: tells of interrupts.
            share: seconds of a sampling step, or of a node where none samples, if times are fixed.
            struck: whether this is the node that faults strike.
        """
        check_inputs(node)
        key = node.model_dump_json(exclude={"id"})
        if node.use_cache and (found := self.cache.get(key)) is not None:
            self.hits += 1
            return found
        self.misses += node.use_cache
        if struck:
            self._gpu.fail_if_ordered(job.faults)
            if (fault := job.faults.get(FaultName.ERROR)) is not None:
                raise _OrderedError(fault.message or "something went wrong")
        work = workshop.work(node, self._gpu.latency)
        if work.model is not None:
            await self._gpu.load(work.model)
        try:
            self._gpu.allocate(work.memory)
            await self._let_time_pass(work, job, share, struck=struck)
            output = await asyncio.to_thread(workshop.run, node)
        finally:
            self._gpu.release()
        if node.use_cache:
            self.cache[key] = output
            while len(self.cache) > KEPT:
                self.cache.pop(next(iter(self.cache)))
        return output

    async def _let_time_pass(self, work: Work, job: Job, share: float | None, *, struck: bool) -> None:
        if work.steps:
            if not await job.steps(work.steps, work.seconds if share is None else share):
                raise JobInterruptedError
            return
        if struck:
            await job.strike()
        # Nodes without steps notice an interrupt only when they are through.
        await asyncio.sleep(work.seconds if share is None else share)

    def _share(self, graph: Graph) -> float | None:
        """Shares a fixed time out over the sampling steps, else over the nodes."""
        seconds = self._gpu.latency.seconds_per_task
        if seconds is None or not graph.nodes:
            return None
        steps = sum(node.steps for node in graph.nodes.values() if isinstance(node, DenoiseLatents))
        return seconds / (steps or len(graph.nodes))

    def _fail(self, item: Item, prepared: str, error: Exception) -> None:
        """Notes what a node died of."""
        kind = "RuntimeError" if isinstance(error, _OrderedError) else type(error).__name__
        if prepared:
            item["session"]["errors"][prepared] = f"{kind}: {error}"
        if item["status"] == "in_progress":
            item.update(error_type=kind, error_message=str(error), error_traceback="".join(traceback.format_exc()))
        self._queue.set_status(item, "failed")
