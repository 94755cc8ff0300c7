"""What nobody could run, and how it is seen to."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from api import schemas
from api.openapi.build import Build
from api.openapi.parameters import RUNTIME
from api.routes.dead_letters import ChosenLetters


def paths(build: Build) -> dict[str, Any]:
    """Returns the operations of each path."""
    return {
        "/v1/dead-letters": {
            "get": build.operation(
                "listDeadLetters",
                "List the dead letters",
                {200: build.json("One's own, with reasons; for an admin: all.", schemas.DeadLetterList)},
                400,
                503,
                tag="letters",
                description="SQS has to hand them out to show them: a look takes a second, and at most 100 of each "
                "runtime are shown.",
                parameters=[RUNTIME],
            ),
            "delete": _chosen(
                build,
                "deleteDeadLetters",
                "Delete dead letters",
                schemas.Deleted,
                "What became of each. One whose task has not ended stays: nothing else may be left that ends it.",
            ),
        },
        "/v1/dead-letters/redrive": {
            "post": _chosen(
                build,
                "redriveDeadLetters",
                "Send dead letters back",
                schemas.SentBack,
                "What became of each. A task that has failed runs as a new submission.",
            ),
        },
    }


def _chosen(build: Build, name: str, summary: str, answer: type[BaseModel], told: str, **more: Any) -> dict[str, Any]:
    """Returns an operation on dead letters that its body names."""
    body = {"required": True, "content": {"application/json": {"schema": build.schema_of[ChosenLetters]}}}
    faults = (400, 408, 413, 415, 503)
    return build.operation(name, summary, {200: build.json(told, answer)}, *faults, tag="letters", body=body, **more)
