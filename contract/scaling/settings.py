"""The scaling settings of a runtime, under the reference chart's names: `extraValues.runtime.scaling` in config.yaml.

The defaults here are the chart's defaults. They are the reference chart's, but for `scaleOnInFlight`: there it stood
where KEDA does not read it, so that messages in flight were counted whatever it said; here it works, and says so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from contract.config import Config, RuntimeConfig


class ScalingError(Exception):
    """Scaling settings that cannot be used; one line for each fault, with the key's path in config.yaml."""


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class PolicyType(StrEnum):
    """The unit of a policy's value."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several policies holds."""

    MAX = "Max"
    """The one that allows the greatest change."""
    MIN = "Min"
    DISABLED = "Disabled"
    """No change in this direction."""


class Policy(_Values):
    """How much may change within a period (`HPAScalingPolicy`, autoscaling/v2)."""

    type: Annotated[PolicyType, Field(strict=False)]
    value: Annotated[int, Field(gt=0)]
    period_seconds: Annotated[int, Field(alias="periodSeconds", gt=0, le=1800)]


class Rules(_Values):
    """The rules of one direction (`HPAScalingRules`, autoscaling/v2); what is None takes the direction's default."""

    stabilization_window_seconds: Annotated[int | None, Field(alias="stabilizationWindowSeconds", ge=0, le=3600)] = None
    select_policy: Annotated[SelectPolicy, Field(alias="selectPolicy", strict=False)] = SelectPolicy.MAX
    policies: Annotated[tuple[Policy, ...] | None, Field(strict=False, min_length=1)] = None
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    """Relative difference from the target that changes nothing; the cluster's default."""


class Behaviour(_Values):
    """The HPA's `behavior`, with the defaults that Kubernetes documents under "Default Behavior"."""

    scale_up: Annotated[Rules, Field(alias="scaleUp")] = Rules()
    scale_down: Annotated[Rules, Field(alias="scaleDown")] = Rules()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        up = self.scale_up.model_copy(
            update={
                "stabilization_window_seconds": self.scale_up.stabilization_window_seconds or 0,
                "policies": self.scale_up.policies or _UP,
            }
        )
        window = self.scale_down.stabilization_window_seconds
        down = self.scale_down.model_copy(
            update={
                "stabilization_window_seconds": 300 if window is None else window,
                "policies": self.scale_down.policies or _DOWN,
            }
        )
        object.__setattr__(self, "scale_up", up)  # frozen for everybody else
        object.__setattr__(self, "scale_down", down)
        return self


_UP = (
    Policy(type=PolicyType.PODS, value=4, period_seconds=15),
    Policy(type=PolicyType.PERCENT, value=100, period_seconds=15),
)
_DOWN = (Policy(type=PolicyType.PERCENT, value=100, period_seconds=15),)


class Fallback(_Values):
    """What holds while the queue cannot be read (`spec.fallback` of a ScaledObject)."""

    replicas: Annotated[int, Field(ge=0)] = 0
    """At least so many, if there are fewer (`behavior: currentReplicasIfHigher`); 0: as many as there are."""
    failure_threshold: Annotated[int, Field(alias="failureThreshold", ge=0)] = 30
    """More failed looks in a row than this, of KEDA's own and of the HPA's."""


class Scaling(_Values):
    """The settings of one runtime."""

    enabled: bool = True
    """False: always `max(1, minReplicaCount)` replicas."""
    queue_length: Annotated[int, Field(alias="queueLength", gt=0)] = 10
    """Messages per replica that the HPA aims at. As one replica runs one task at a time, this is the wait that is
    accepted before another GPU is paid for, counted in tasks."""
    min_replica_count: Annotated[int, Field(alias="minReplicaCount", ge=0)] = 0
    max_replica_count: Annotated[int, Field(alias="maxReplicaCount", gt=0)] = 20
    polling_interval: Annotated[int, Field(alias="pollingInterval", gt=0)] = 1
    """Seconds between KEDA's looks at the queue, which decide between none and one replica; the HPA does the rest."""
    cooldown_period: Annotated[int, Field(alias="cooldownPeriod", ge=0)] = 60
    """Seconds of an empty queue before the last replicas go; without effect unless `minReplicaCount` is 0."""
    scale_on_in_flight: Annotated[bool, Field(alias="scaleOnInFlight")] = True
    """Whether messages that an agent holds count; without them a replica may go while its task runs."""
    scale_on_delayed: Annotated[bool, Field(alias="scaleOnDelayed")] = False
    activation_queue_length: Annotated[int, Field(alias="activationQueueLength", ge=0)] = 0
    """From none to one replica only above so many messages."""
    fallback: Fallback = Fallback()
    behaviour: Annotated[Behaviour, Field(alias="extraHPAConfig")] = Behaviour()
    """What stands under the HPA's `behavior`; the chart writes all of it out."""
    _has_behaviour: bool = PrivateAttr(default=True)

    @property
    def has_behaviour(self) -> bool:
        """False: the HPA has no `behavior` at all, as other charts leave it, and then follows its older rules."""
        return self._has_behaviour

    def without_behaviour(self) -> Self:
        """Returns the same for an HPA that has no `behavior`."""
        copy = self.model_copy()
        copy._has_behaviour = False  # noqa: SLF001 - of the same class
        return copy

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_replica_count > self.max_replica_count:
            raise ValueError(
                f"minReplicaCount ({self.min_replica_count}) must not exceed maxReplicaCount ({self.max_replica_count})"
            )
        return self


def scaling_of(runtime: RuntimeConfig, where: str = "extraValues") -> Scaling:
    """Returns the settings of one runtime.

    Args:
        runtime: as in config.yaml.
        where: the path of its `extraValues`, for errors.

    Raises:
        ScalingError: a value cannot be used.
    """
    found = _written(runtime, where)
    if runtime.chart_repository and found.behaviour == Behaviour():
        # Ours writes the behaviour out; another chart, or ours of before, may not.
        return found.without_behaviour()
    return found


def _written(runtime: RuntimeConfig, where: str) -> Scaling:
    values: Any = runtime.extra_values
    for key in ("runtime", "scaling"):
        values = values.get(key) if isinstance(values, dict) else None
        where = f"{where}.{key}"
        if values is None:
            return Scaling()
    try:
        return Scaling.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join([where, *(str(part) for part in item['loc'])])}: "
            f"{item['msg'].removeprefix('Value error, ')}; found {item['input']!r}"
            for item in error.errors(include_url=False)
        ]
        raise ScalingError("\n".join(lines)) from error


def scaling_by_runtime(config: Config) -> dict[str, Scaling]:
    """Returns the settings of every runtime, by its name.

    Raises:
        ScalingError: a value cannot be used.
    """
    return {
        runtime.name: scaling_of(runtime, f"modelsRuntime.{index}.extraValues")
        for index, runtime in enumerate(config.runtimes)
    }
