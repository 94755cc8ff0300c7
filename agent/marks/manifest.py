"""Writes the C2PA manifest of one file (C2PA specification 2.4; a pure function, no signing)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from agent.marks.facts import Facts
from contract.outputs import Told

GENERATED: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for media that a trained model has made (cv.iptc.org/newscodes/digitalsourcetype)."""

_IPTC: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
"""Its AISystemUsed and AIPromptInformation: IPTC Photo Metadata Standard 2025.1."""


def manifest_of(facts: Facts, told: Collection[Told], *, runtime: str, when: str, title: str) -> dict[str, Any]:
    """Returns a manifest as `c2pa.Builder` takes it.

    Args:
        facts: how the file was made.
        told: which of them are told.
        runtime: what made it, such as `ComfyUI`.
        when: it was made (RFC 3339).
        title: the file's name.
    """
    action: dict[str, Any] = {
        "action": "c2pa.created",
        "when": when,
        "softwareAgent": {"name": runtime},
        "digitalSourceType": GENERATED,
    }
    # As text: readers of JSON know 53 bits of a seed's 64, and the library would cut each to eight (findings/).
    parameters: dict[str, Any] = {}
    if Told.SEED in told and facts.seeds:
        parameters["darkroom.seed"] = [str(seed) for seed in facts.seeds]
    if Told.WORKFLOW in told and facts.workflow:
        parameters["darkroom.workflow.sha256"] = facts.workflow
    if parameters:
        action["parameters"] = parameters
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}]
    metadata: dict[str, Any] = {}
    if Told.MODEL in told and facts.models:
        metadata["Iptc4xmpExt:AISystemUsed"] = ", ".join(facts.models)
    if Told.PROMPT in told and facts.prompts:
        metadata["Iptc4xmpExt:AIPromptInformation"] = "\n".join(facts.prompts)
    if metadata:
        data = {"@context": {"Iptc4xmpExt": _IPTC}, **metadata}
        assertions.append({"label": "cawg.metadata", "data": data})
    return {"claim_generator_info": [{"name": "Darkroom"}], "title": title, "assertions": assertions}
