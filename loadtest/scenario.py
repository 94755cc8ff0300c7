"""A scenario: the shape of a load, what its tasks ask for, how it waits for them, and what must hold; one YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from contract.config import describe_yaml_error
from contract.identifiers import RuntimeName
from loadtest.errors import LoadtestError
from loadtest.mix import Work
from loadtest.shapes import Replay, Shape

SCENARIOS: Final = Path(__file__).with_name("scenarios")


class ScenarioError(LoadtestError):
    """A scenario that cannot be used; the text names the file, the key and the way out."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arrive(StrEnum):
    """Who decides when the next task comes."""

    OPEN = "open"
    """The clock: a rate, however long the tasks before take."""
    CLOSED = "closed"
    """So many users, each of whom waits for its task before it sends the next."""


class Wait(StrEnum):
    """How the test learns that a task has ended."""

    CALLBACK = "callback"
    POLL = "poll"
    EVENTS = "events"


_Within = Annotated[float, Field(ge=0, description="seconds")]


class ScalingCheck(_Strict):
    """What must hold of one runtime's replicas. Seconds count from when the queue first called for more of them."""

    runtime: Annotated[
        RuntimeName | None, Field(description="the only one that is judged; all with load if absent")
    ] = None
    scale_out_within: _Within | None = None
    needed: Annotated[int | None, Field(ge=1, description="replicas; by arrivals and seconds per task if absent")] = (
        None
    )
    reached_within: _Within | None = None
    never_above_max: bool = True
    back_to_min_within: Annotated[_Within | None, Field(description="beyond the scaler's own windows")] = None
    no_busy_replica_removed: bool = False


class Flood(_Strict):
    """What one API key, the first, sends besides the load, which the others share."""

    tasks: Annotated[int, Field(ge=1, le=1_000_000)]
    begin: Annotated[float, Field(ge=0, description="seconds after which it begins")] = 0.0
    within: Annotated[float, Field(ge=0, description="seconds in which its tasks arrive, evenly")] = 0.0


class Checks(_Strict):
    """What must hold; all optional. One that finds nothing to look at fails."""

    no_task_lost: bool = False
    no_contradiction: Annotated[bool, Field(description="no second callback with another result")] = False
    no_task_failed: bool = False
    no_task_refused: Annotated[bool, Field(description="whatever was sent was accepted")] = False
    p95_end_to_end: _Within | None = None
    drained_within: Annotated[_Within | None, Field(description="of the end of the load")] = None
    only_throttled: Annotated[bool, Field(description="whoever is refused is told 429")] = False
    gpu_idle_at_most: Annotated[float | None, Field(ge=0, le=100, description="percent")] = None
    generator_lag: Annotated[_Within | None, Field(description="by which the load itself may be late (p99)")] = 1.0
    fair_shares: Annotated[bool, Field(description="quiet keys wait as in a fair queue; judged on AWS alone")] = False
    scaling: ScalingCheck | None = None


class LocalStack(_Strict):
    """How `--target local` starts a stack of its own; the options of `up`."""

    config: Path = Path("loadtest/stack.yaml")
    replicas: Annotated[int, Field(ge=1, le=50, description="with autoscale, the most that this machine runs")] = 1
    latency: Annotated[float, Field(ge=0)] = 0.0
    seconds_per_task: Annotated[float | None, Field(ge=0)] = None
    autoscale: bool = False
    node_seconds: Annotated[float, Field(ge=0, description="that a new replica waits for its node")] = 0.0
    sync_seconds: Annotated[float, Field(gt=0, description="between the HPA's decisions; in a cluster always 15")] = (
        15.0
    )
    keys: Annotated[int, Field(ge=0, le=100, description="API keys that are made for it; 0: none is needed")] = 0


class Scenario(_Strict):
    """A whole scenario."""

    shape: Shape
    flood: Flood | None = None
    arrive: Arrive = Arrive.OPEN
    think: Annotated[float, Field(ge=0, description="mean seconds between a user's tasks; closed loads")] = 0.0
    mix: tuple[Work, ...] = ()
    wait: Wait = Wait.CALLBACK
    drain: Annotated[float, Field(ge=0, description="seconds after the load in which tasks may still end")] = 180.0
    linger: Annotated[float, Field(ge=0, description="seconds in which a second callback would still be noticed")] = 3.0
    seed: int = 1
    checks: Checks = Checks()
    local: LocalStack = LocalStack()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.arrive is Arrive.CLOSED and isinstance(self.shape, Replay):
            raise ValueError("arrive: a replay's arrivals are its own; it must be open")
        if self.flood is not None and (self.arrive is Arrive.CLOSED or isinstance(self.shape, Replay)):
            raise ValueError("flood: goes with an open load by a shape; a replay names tenants in its file")
        return self


def scenario_names() -> list[str]:
    """Returns the scenarios that come with the project."""
    return sorted(path.stem for path in SCENARIOS.glob("*.yaml"))


def load_scenario(name: str, changes: Sequence[str] = ()) -> Scenario:
    """Reads a scenario by its name, or from a YAML file.

    Args:
        name: of one that comes with the project, or a path.
        changes: `path.to.key=value` each; the value is YAML.

    Raises:
        ScenarioError: there is none, or it is wrong.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else SCENARIOS / f"{name}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(
            f"--shape {name}: cannot be read ({error.strerror}); take one of {', '.join(scenario_names())}, "
            "or a YAML file of your own"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is not YAML: {describe_yaml_error(error)}") from error
    if not isinstance(document, dict):
        raise ScenarioError(f"{path}: must be a mapping with a `shape`")
    for change in changes:
        _apply(document, change)
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        raise ScenarioError(f"{path}: {'; '.join(map(_fault, error.errors(include_url=False)))}") from error


def _fault(item: ErrorDetails) -> str:
    """Returns what is wrong with one key, in one line."""
    where, says = ".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = _keys_at(item["loc"][:-1])
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{where}: unknown key; {hint}allowed here: {', '.join(known)}"
    return f"{where}: {says[:1].lower()}{says[1:]}" if where else says


def _keys_at(path: Iterable[int | str]) -> list[str]:
    """Returns the keys of the mapping at a path, in which pydantic names the kind of a shape, too."""
    models: list[type[BaseModel]] = [Scenario]
    for part in path:
        kinds = [model for model in models if model.__name__.lower() == part]
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = kinds or [inner for field in fields for inner in _models_in(field.annotation)] or models
    return [name for model in models for name in model.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _apply(document: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise ScenarioError(f"--set {change!r}: write path.to.key=value, such as shape.high=80")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(f"--set {change!r}: the value is not YAML") from error
    *path, last = key.split(".")
    place = document
    for part in path:
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ScenarioError(f"--set {change!r}: {part!r} holds no keys")
        place = inner
    place[last] = value
