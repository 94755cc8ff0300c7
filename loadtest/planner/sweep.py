"""The same load under many settings, and which of them nobody beats in both waiting and cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import yaml
from pydantic import ValidationError

from contract.config import Config, describe_yaml_error
from contract.scaling.settings import Scaling

_RANGE: Final = re.compile(r"(\d+):(\d+)(?::([1-9]\d*))?")
MOST: Final = 200
"""Values of one sweep."""


class ChoiceError(ValueError):
    """An option that cannot be used; one line that says what is allowed."""


def names() -> list[str]:
    """Returns the settings' names as config.yaml has them."""
    return [field.alias or name for name, field in Scaling.model_fields.items()]


def changed(scaling: Scaling, changes: Iterable[tuple[str, Any]]) -> Scaling:
    """Returns the settings with some of them changed.

    Raises:
        ChoiceError: there is no such setting, or it cannot have that value.
    """
    values = scaling.model_dump(by_alias=True, mode="python")
    for name, value in changes:
        if name not in values:
            raise ChoiceError(f"there is no setting {name!r}; there are {', '.join(names())}")
        values[name] = value
    try:
        return Scaling.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the settings"
        raise ChoiceError(f"{where}: {fault['msg'].removeprefix('Value error, ')}") from error


def agent_setting(config: Config, runtime: str, name: str, default: int) -> int:
    """Returns a setting of a runtime's agent: `extraValues.runtime.queueAgent` in config.yaml.

    Raises:
        ChoiceError: it is no number of tasks.
    """
    found = config.runtime(runtime)
    value: Any = found.extra_values if found is not None else None
    for key in ("runtime", "queueAgent", name):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise ChoiceError(f"extraValues.runtime.queueAgent.{name} of {runtime}: {value!r} is no number of tasks")
    return value


def parse_change(text: str) -> tuple[str, Any]:
    """Reads `name=value`, the value as YAML.

    Raises:
        ChoiceError: it is none.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ChoiceError(f"{text!r} is not name=value, such as queueLength=5")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ChoiceError(f"{text!r}: the value is not YAML: {describe_yaml_error(error)}") from error


def parse_sweep(text: str) -> tuple[str, list[int]]:
    """Reads `name=from:to`, `name=from:to:step` or `name=1,2,5`.

    Raises:
        ChoiceError: it is none, or has too many values.
    """
    name, _, values = text.partition("=")
    if found := _RANGE.fullmatch(values.strip()):
        first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
        numbers = list(range(first, last + 1, step))
    elif re.fullmatch(r"\d+(,\d+)*", values.strip()):
        numbers = [int(part) for part in values.split(",")]
    else:
        raise ChoiceError(
            f"{text!r} is not a sweep, such as queueLength=1:20, queueLength=5:50:5 or queueLength=1,5,10"
        )
    if not 0 < len(numbers) <= MOST:
        raise ChoiceError(f"{text!r} has {len(numbers)} values; a sweep has 1 to {MOST}")
    return name.strip(), numbers


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns which points no other one beats: none is at most as high in both coordinates and lower in one."""
    front: list[int] = []
    lowest = float("inf")
    for number in sorted(range(len(points)), key=lambda index: points[index]):
        if points[number][1] < lowest or (front and points[number] == points[front[-1]]):
            lowest = points[number][1]
            front.append(number)
    return sorted(front)
