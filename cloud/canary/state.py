"""What is known of a runtime's canary, kept in one SSM parameter per runtime, so that every operator sees the same."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from cloud.aws import Aws, ToolError


class Phase(StrEnum):
    """Where a canary stands."""

    RUNNING = "running"
    PASSED = "passed"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"


class CanaryState(BaseModel):
    """One runtime's canary, and what was promoted before."""

    model_config = ConfigDict(frozen=True)

    phase: Phase
    images: dict[str, str]
    """What is tried or was promoted, by container: `inferenceApi`, `queueAgent`."""
    percent: int
    reason: str = ""
    """Why it stands so."""
    since: datetime
    promoted: dict[str, str] = {}
    """The images of all replicas, where a promotion has changed them; a deployment does not take them back."""
    before: dict[str, str] = {}
    """What ran before the last promotion."""
    promoted_before: dict[str, str] = {}
    """`promoted` as it was then."""

    @property
    def running(self) -> bool:
        """Whether a share of the replicas runs its images just now."""
        return self.phase in {Phase.RUNNING, Phase.PASSED}

    def moved(self, phase: Phase, reason: str, **changes: Any) -> CanaryState:
        """Returns the state after a change."""
        update = {"phase": phase, "reason": reason, "since": datetime.now(UTC), **changes}
        return self.model_copy(update=update)


def parameter(stack: str, runtime: str) -> str:
    """Returns the name of a runtime's parameter."""
    return f"/darkroom/{stack}/canary/{runtime}"


def read(aws: Aws, stack: str, runtime: str) -> CanaryState | None:
    """Returns a runtime's state, or None when it never had a canary.

    Raises:
        ToolError: the parameter holds something else.
    """
    ssm, name = aws.client("ssm"), parameter(stack, runtime)
    try:
        text = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        return None
    return _parsed(name, text)


def write(aws: Aws, stack: str, runtime: str, state: CanaryState) -> None:
    """Keeps a runtime's state."""
    aws.client("ssm").put_parameter(
        Name=parameter(stack, runtime), Value=state.model_dump_json(), Type="String", Overwrite=True
    )


def read_all(aws: Aws, stack: str) -> dict[str, CanaryState]:
    """Returns the state of each runtime that ever had a canary, by its name.

    Raises:
        ToolError: a parameter holds something else.
    """
    pages = aws.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=f"/darkroom/{stack}/canary/")
    return {
        item["Name"].rpartition("/")[2]: _parsed(item["Name"], item["Value"])
        for page in pages
        for item in page["Parameters"]
    }


def _parsed(name: str, text: str) -> CanaryState:
    try:
        return CanaryState.model_validate_json(text)
    except ValidationError as error:
        raise ToolError(f"the SSM parameter {name} holds no canary's state; delete it to start afresh") from error
