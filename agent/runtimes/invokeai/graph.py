"""Reads the graph in a task's content, and finds the images that have to be put into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.errors import PermanentError
from agent.inputs.links import is_link
from agent.media import extension_of
from agent.runtimes.base import Upload

IMAGE_NAME: Final = "image_name"
"""The field by which InvokeAI names an image, in whatever field of a node: `{"image": {"image_name": "….png"}}`.

Links count in no other place: everything else is words, numbers and the names of models.
"""

_TAKEN: Final = ("graph", "workflow")
"""What is taken from a content that wraps its graph; ids and places in the queue are the agent's own affair."""
_DEEPEST: Final = 100


def read_graph(content: Mapping[str, Any]) -> dict[str, Any]:
    """Reads a graph: bare, wrapped as `{"graph": {…}}`, or in the request that the editor sends, `{"batch": {…}}`.

    Returns:
        The fields of the request's `batch`: `graph`, and `workflow` where there is one.

    Raises:
        PermanentError: it is none; or it asks for several runs by `data`. The server checks those values only after
            it has queued them, and a wrong one blocks its queue for everybody (seen on 6.14.2).
    """
    batch = content.get("batch", content)
    if not isinstance(batch, dict):
        raise _invalid("batch must be an object that holds a graph")
    if "graph" not in batch:
        batch = {"graph": batch}
    if batch.get("data"):
        raise _invalid("batch.data is not taken; write its values into the graph, and send a task for each")
    graph = batch["graph"]
    nodes = graph.get("nodes") if isinstance(graph, dict) else None
    if isinstance(nodes, list):
        raise _invalid("it is in the editor's own format; send the graph that the editor puts into the queue")
    if not isinstance(nodes, dict) or not nodes:
        raise _invalid("it has no nodes; a graph is an object with nodes and edges")
    for name, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            raise _invalid(f"node {name!r:.80} is no object with a type")
    return {name: batch[name] for name in _TAKEN if batch.get(name) is not None}


def image_names(document: Any) -> list[str]:
    """Returns each name of an image in a document, once, in the order of their first places.

    Raises:
        PermanentError: the document is nested too deeply.
    """
    found: dict[str, None] = {}

    def note(name: str) -> str:
        found.setdefault(name)
        return name

    _rename(document, note)
    return list(found)


def graph_links(document: Any) -> list[str]:
    """Returns each link in the place of an image's name, once."""
    return [name for name in image_names(document) if is_link(name)]


def with_names(document: Any, names: Mapping[str, str]) -> Any:
    """Returns a copy of a document in which images bear other names."""
    return _rename(document, lambda name: names.get(name, name))


def with_uploads(document: Any, fetched: Mapping[str, bytes]) -> tuple[Any, list[Upload]]:
    """Returns the document with the uploads' names instead of links, and the uploads: what is the same, once."""
    uploads = {link: Upload(_upload_name(data), data) for link, data in fetched.items()}
    renamed = with_names(document, {link: upload.name for link, upload in uploads.items()})
    return renamed, list({upload.name: upload for upload in uploads.values()}.values())


def _rename(value: Any, rename: Callable[[str], str], depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise PermanentError("invalid_content", f"the content is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [_rename(item, rename, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            key: rename(item) if key == IMAGE_NAME and isinstance(item, str) else _rename(item, rename, depth + 1)
            for key, item in value.items()
        }
    return value


def _upload_name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:32]}.{extension_of(data)}"


def _invalid(why: str) -> PermanentError:
    return PermanentError("invalid_workflow", f"the graph cannot be run: {why}")
