"""A typo in `extraValues` is told at `up`, with its path, by the chart's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.config import Config, load_config, parse_config
from local.chart_values import SCHEMA, unknown_values

EXAMPLES = sorted((Path(__file__).parents[3] / "cloud" / "examples").glob("*.yaml"))


def config(values: Any, **more: str) -> Config:
    runtime = {"name": "a", "type": "comfyui", "extraValues": values, **more}
    return parse_config(yaml.safe_dump({"modelBucketArn": "arn:aws:s3:::models", "modelsRuntime": [runtime]}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"runtme": {}}, "modelsRuntime.0.extraValues.runtme: unknown key; did you mean 'runtime'?"),
        (
            {"runtime": {"scaling": {"queueLenght": 5}}},
            "modelsRuntime.0.extraValues.runtime.scaling.queueLenght: unknown key; did you mean 'queueLength'?",
        ),
        (
            {"karpenter": {"nodeTemplate": {"dataVolume": {"snapshotid": "snap-1"}}}},
            "modelsRuntime.0.extraValues.karpenter.nodeTemplate.dataVolume.snapshotid: unknown key; "
            "did you mean 'snapshotID'?",
        ),
        ({"zzz": 1}, "modelsRuntime.0.extraValues.zzz: unknown key; the chart has global, karpenter, networkPolicy"),
    ],
)
def test_an_unknown_key_is_told_with_its_path_and_what_was_meant(values: Any, said: str) -> None:
    (sentence,) = unknown_values(config(values))
    assert sentence.startswith(said)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_have_no_unknown_key(example: Path) -> None:
    assert unknown_values(load_config(example)) == []


def test_free_keys_old_names_and_other_charts_are_left_alone(tmp_path: Path) -> None:
    assert unknown_values(config({"runtime": {"labels": {"any/thing": "x"}}})) == []
    assert unknown_values(config({"sdWebuiInferenceApi": {"queueAgent": {"XRay": {"enabled": True}}}})) == []
    assert unknown_values(config({"replicaCount": 1}, chartRepository="https://charts.example")) == []
    assert unknown_values(config({"runtme": 1}), schema=tmp_path / "no-chart-here") == []
    assert SCHEMA.is_file()
