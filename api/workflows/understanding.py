"""Makes of a file what `POST /v1/runtimes/{name}/workflow` answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.workflows.checks import warnings_of
from api.workflows.editor import MOST_NODES, Converted, convert
from api.workflows.errors import WorkflowError
from api.workflows.fields import fields_of
from api.workflows.reading import Workflow, read_workflow
from contract.catalogue import Entry

_NO_CATALOGUE: Final = "no agent of this runtime has told what its nodes are yet: nothing was checked against them"


class UnknownNodesError(WorkflowError):
    """The editor's form cannot be converted before the runtime has told of its nodes."""


def understand(data: bytes, catalogue: Mapping[str, Entry] | None) -> dict[str, Any]:
    """Returns `content` (API form), `fields` and `warnings`.

    Args:
        data: a file; see `api.workflows.reading.read_workflow`.
        catalogue: what the runtime tells of its nodes; None: it has not told yet.

    Raises:
        UnknownNodesError: the catalogue is needed, and not there.
        WorkflowError: it holds no workflow, or one that cannot be converted.
    """
    found = read_workflow(data)
    converted = _nodes(found, catalogue)
    if not converted.nodes:
        raise WorkflowError("nothing in the workflow runs: all its nodes are muted, bypassed or notes")
    known = catalogue or {}
    warnings = converted.warnings
    warnings += [_NO_CATALOGUE] if catalogue is None else warnings_of(converted.nodes, known, converted.origins)
    return {
        "content": converted.nodes,
        "fields": fields_of(converted.nodes, known, converted.promoted),
        "warnings": warnings,
    }


def _nodes(found: Workflow, catalogue: Mapping[str, Entry] | None) -> Converted:
    if found.api is None:
        if catalogue is None:
            raise UnknownNodesError(
                "a workflow in the editor's form is converted by what the runtime tells of its nodes, and no agent of "
                "it has told yet; start one, or save the workflow with Export (API)"
            )
        return convert(found.editor or {}, catalogue)
    if len(found.api) > MOST_NODES:
        raise WorkflowError(f"the workflow has more than {MOST_NODES} nodes")
    for key, node in found.api.items():
        if not isinstance(node.get("inputs", {}), dict):
            raise WorkflowError(f"the inputs of node {key!r:.80} are no object")
    return Converted(found.api, origins=_origins(found))


def _origins(found: Workflow) -> dict[str, Mapping[str, Any]]:
    """Returns what the editor's form says of the nodes that are not within a subgraph."""
    nodes = (found.editor or {}).get("nodes") or ()
    return {
        str(node.get("id")): node["properties"]
        for node in nodes
        if isinstance(node, dict) and isinstance(node.get("properties"), dict)
    }
