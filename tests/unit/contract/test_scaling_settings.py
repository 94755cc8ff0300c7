"""The scaling settings of config.yaml: the documented names, their defaults, and faults named by their path."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.config import Config, load_config, parse_config
from contract.scaling.settings import (
    Behaviour,
    PolicyType,
    Scaling,
    ScalingError,
    SelectPolicy,
    scaling_by_runtime,
)


def config(scaling: str) -> Config:
    return parse_config(
        f"""
modelBucketArn: arn:aws:s3:::models
modelsRuntime:
- {{name: plain, type: comfyui}}
- name: sdruntime
  type: comfyui
  extraValues: {{runtime: {{scaling: {scaling}}}}}
"""
    )


def test_without_settings_the_reference_charts_defaults_hold() -> None:
    scaling = scaling_by_runtime(load_config(Path("config.yaml")))["sdruntime"]
    assert scaling == Scaling()
    assert scaling.model_dump(by_alias=True, exclude={"behaviour"}) == {
        "enabled": True,
        "queueLength": 10,
        "minReplicaCount": 0,
        "maxReplicaCount": 20,
        "pollingInterval": 1,
        "cooldownPeriod": 60,
        "scaleOnInFlight": True,
        "scaleOnDelayed": False,
        "activationQueueLength": 0,
        "fallback": {"replicas": 0, "failureThreshold": 30},
    }


def test_the_documented_names_are_read_from_extra_values() -> None:
    found = scaling_by_runtime(config("{queueLength: 3, maxReplicaCount: 7, scaleOnInFlight: false}"))
    assert found["plain"] == Scaling()
    assert (found["sdruntime"].queue_length, found["sdruntime"].max_replica_count) == (3, 7)
    assert found["sdruntime"].scale_on_in_flight is False


def test_hpa_behaviour_is_completed_by_the_defaults_of_kubernetes() -> None:
    behaviour = scaling_by_runtime(
        config(
            "{extraHPAConfig: {scaleDown: {stabilizationWindowSeconds: 0, selectPolicy: Min, "
            "policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}"
        )
    )["sdruntime"].behaviour
    assert behaviour.scale_up == Behaviour().scale_up
    assert behaviour.scale_up.stabilization_window_seconds == 0
    assert [(policy.type, policy.value) for policy in behaviour.scale_up.policies or ()] == [
        (PolicyType.PODS, 4),
        (PolicyType.PERCENT, 100),
    ]
    assert behaviour.scale_down.stabilization_window_seconds == 0
    assert behaviour.scale_down.select_policy is SelectPolicy.MIN
    assert len(behaviour.scale_down.policies or ()) == 1
    assert Behaviour().scale_down.stabilization_window_seconds == 300


@pytest.mark.parametrize(
    ("scaling", "fault"),
    [
        ("{queueLength: 0}", "queueLength: Input should be greater than 0; found 0"),
        ("{queueLength: '5'}", "queueLength: Input should be a valid integer; found '5'"),
        ("{queuelength: 5}", "queuelength: Extra inputs are not permitted; found 5"),
        ("{minReplicaCount: 9, maxReplicaCount: 3}", r"minReplicaCount \(9\) must not exceed maxReplicaCount \(3\)"),
        ("{extraHPAConfig: {scaleUp: {policies: []}}}", r"extraHPAConfig\.scaleUp\.policies: "),
        ("7", "found 7"),
    ],
)
def test_a_faulty_setting_is_named_by_its_path(scaling: str, fault: str) -> None:
    with pytest.raises(ScalingError, match=rf"^modelsRuntime\.1\.extraValues\.runtime\.scaling.*{fault}"):
        scaling_by_runtime(config(scaling))
