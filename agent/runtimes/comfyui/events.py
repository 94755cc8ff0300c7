"""Follows one prompt through ComfyUI's WebSocket events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from agent.runtimes.comfyui.files import has_output, is_unfinished, output_files


class Ending(StrEnum):
    """How a prompt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


_ENDINGS = {
    "execution_success": Ending.SUCCEEDED,
    "execution_error": Ending.FAILED,
    "execution_interrupted": Ending.INTERRUPTED,
}


_MOST_CACHED: Final = 100_000
"""Names of cached nodes that are kept, and those of one more event; ten times the largest workflows."""

_SENDERS: Final = re.compile("web_?socket", re.IGNORECASE)
"""Classes of nodes that send their pictures through the socket and write no file: SaveImageWebsocket and its kin."""

_PICTURE: Final = b"\0\0\0\1\0\0\0\2"
"""How the frame of a PNG begins: BinaryEventTypes.PREVIEW_IMAGE, then 2, both big-endian (ComfyUI's protocol.py and
`send_image`). Previews of a sampler are JPEG: 1."""


def senders(prompt: Mapping[str, Any]) -> frozenset[str]:
    """Returns the nodes of a prompt whose outputs come through the socket."""
    return frozenset(name for name, node in prompt.items() if _SENDERS.search(node["class_type"]))


def last_nodes(prompt: Mapping[str, Any]) -> frozenset[str]:
    """Returns the nodes of a prompt that no other one uses."""
    used = {
        str(value[0])
        for node in prompt.values()
        for value in node.get("inputs", {}).values()
        if isinstance(value, list) and value
    }
    return frozenset(prompt) - used


@dataclass
class Watch:
    """What is known of a prompt so far.

    Events of other prompts, of unknown types and without a prompt's id are noise: everybody's `progress_state` comes
    to every socket, and a socket that comes back is greeted with an `executing` that names no prompt.
    """

    prompt_id: str
    nodes: frozenset[str]
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Node id → its output, of the nodes that made some, now or in an earlier run."""
    senders: frozenset[str] = frozenset()
    """Nodes whose pictures come through the socket."""
    last_nodes: frozenset[str] = frozenset()
    """Nodes that no other one uses: what saves is among them. Empty: not known."""
    pictures: list[bytes] = field(default_factory=list)
    """What they have sent, PNG."""
    kept_bytes: int = 0
    """Bytes of the events that are kept: outputs and pictures."""
    cached: set[str] = field(default_factory=set)
    """Nodes that did not run, since their outputs of an earlier run serve."""
    forgotten: bool = False
    """Whether the history knew nothing of the prompt when it was asked."""
    missed: bool = False
    """Whether the socket broke, so that frames may be lost; events are in the history too."""
    ending: Ending | None = None
    failure: Mapping[str, Any] = field(default_factory=dict)
    """The data of `execution_error`."""
    _shares: dict[str, float] = field(default_factory=dict)
    _current: str | None = None

    @property
    def progress(self) -> float:
        """The share of the nodes that is done, 0..1; a node's own steps count as parts of it."""
        return min(1.0, sum(self._shares.values()) / len(self.nodes)) if self.nodes else 0.0

    @property
    def owns_outputs(self) -> bool:
        """Whether every output is known to be this prompt's own, whatever runs next.

        One that comes from the cache may be gone, and one whose name is always the same would be the next prompt's.
        """
        made = has_output(self.outputs) and not self.cached & self.outputs.keys() and not self.is_unfinished
        return made and all(file.is_unique for file in output_files(self.outputs))

    @property
    def goes_on(self) -> bool:
        """Whether the prompt has failed and runs on: a node blocked what depends on it, and the server does the rest.

        See `execution_block_cb` in ComfyUI's execution.py.
        """
        return self.failure.get("exception_type") == "ExecutionBlocked"

    @property
    def came_from_cache(self) -> bool:
        """Whether a node at the end of the workflow did not run, so that another run may make what is missing."""
        return bool(self.cached & self.last_nodes) if self.last_nodes else bool(self.cached)

    @property
    def missed_pictures(self) -> bool:
        """Whether pictures that were sent through the socket may be lost."""
        return self.missed and bool(self.senders)

    @property
    def is_unfinished(self) -> bool:
        """Whether a node has queued another prompt, in which the work goes on (meta batches of VHS)."""
        return self.ending is Ending.SUCCEEDED and is_unfinished(self.outputs)

    def feed_frame(self, frame: bytes) -> None:
        """Takes one binary frame: a picture that is an output, or a preview, which is dropped."""
        if self._current in self.senders and frame.startswith(_PICTURE):
            self.pictures.append(frame[len(_PICTURE) :])
            self.kept_bytes += len(frame)

    def feed(self, message: Any, size: int = 0) -> None:
        """Takes one event, decoded, that came in so many bytes."""
        if not isinstance(message, dict) or not isinstance(data := message.get("data"), dict):
            return
        if data.get("prompt_id") != self.prompt_id:
            return
        match message.get("type"):
            case "execution_cached":
                nodes = data.get("nodes")
                if isinstance(nodes, list) and len(self.cached) < _MOST_CACHED:
                    self.cached |= {str(name) for name in nodes}
                    self.kept_bytes += size
                self._done(nodes)
            case "executing":
                self._executing(data.get("node"))
            case "progress":
                self._share(data.get("node") or self._current, data)
            case "progress_state":
                states = data.get("nodes")
                for name, state in states.items() if isinstance(states, dict) else ():
                    self._share(name, state)
            case "executed":
                if isinstance(data.get("output"), dict):
                    self.outputs[str(data.get("node"))] = data["output"]
                    self.kept_bytes += size
                self._done([data.get("node")])
            case str(kind) if kind in _ENDINGS:
                self._end(_ENDINGS[kind], data)

    def read_history(self, entry: Mapping[str, Any]) -> None:
        """Takes the prompt's entry of `/history`, which is written once it has ended.

        Its status is "error" for an interrupted prompt too: only the messages tell.
        """
        outputs = entry.get("outputs")
        if isinstance(outputs, dict):
            self.outputs = {name: output for name, output in outputs.items() if isinstance(output, dict)}
        status = entry.get("status")
        status = status if isinstance(status, dict) else {}
        for message in status.get("messages") or ():
            if isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict):
                self.feed({"type": message[0], "data": {**message[1], "prompt_id": self.prompt_id}})
        if self.ending is None:
            self.ending = Ending.FAILED if status.get("status_str") == "error" else Ending.SUCCEEDED

    def _executing(self, node: Any) -> None:
        self._done([self._current])
        self._current = node if isinstance(node, str) else None
        if node is None:
            self._end(Ending.SUCCEEDED, {})

    def _end(self, ending: Ending, data: Mapping[str, Any]) -> None:
        # The first word counts: `executing` without a node follows every ending.
        if self.ending is None:
            self.ending = ending
            self.failure = data if ending is Ending.FAILED else {}

    def _done(self, names: Any) -> None:
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str) and name in self.nodes:
                self._shares[name] = 1.0

    def _share(self, name: Any, state: Any) -> None:
        if not isinstance(name, str) or name not in self.nodes or not isinstance(state, dict):
            return
        value, most = state.get("value"), state.get("max")
        if isinstance(value, int | float) and isinstance(most, int | float) and most > 0:
            self._shares[name] = max(self._shares.get(name, 0.0), min(1.0, value / most))
