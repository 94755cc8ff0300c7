"""What a real API server says of the chart: every example, what it must refuse, and upgrades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloud.helm import render
from contract.config import load_config
from tests.cloud.chart.releases import COMPLETE, of_runtime, released
from tests.cluster.running import ROOT, Running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

EXAMPLES = sorted((ROOT / "cloud" / "examples").glob("*.yaml"))
CRDS = ROOT / "tests" / "cloud" / "crds"
NO_CRD = {"ServiceMonitor"}
"""Of the Prometheus operator, whose definitions are not here."""


@pytest.fixture(scope="module")
def api(cluster: Running) -> Running:
    """The cluster, with Karpenter's definitions."""
    for path in CRDS.glob("karpenter*.yaml"):
        cluster.kubectl("apply", "--server-side", "--filename", str(path))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return cluster


def dry_run(api: Running, objects: list[dict[str, Any]]) -> str:
    """Asks the API server to take objects, strictly, without keeping them; returns its warnings."""
    namespaces = {item["metadata"].get("namespace", "default") for item in objects}
    for name in namespaces:
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        api.kubectl("apply", "--filename=-", text=json.dumps(made))
    asked = [item for item in objects if item["kind"] not in NO_CRD]
    document = {"apiVersion": "v1", "kind": "List", "items": asked}
    done = api.kubectl(
        *(
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "--field-manager=test",
            "--force-conflicts",
            "--filename=-",
        ),
        text=json.dumps(document),
    )
    assert len(done.stdout.splitlines()) == len(asked)
    return done.stderr


@pytest.mark.parametrize("path", [*EXAMPLES, ROOT / "config.yaml"], ids=lambda path: path.stem)
def test_every_object_of_every_example_is_accepted_without_a_warning(api: Running, path: Path) -> None:
    config = load_config(path)
    for runtime in config.runtimes:
        if not runtime.chart_repository:
            assert dry_run(api, of_runtime(config, runtime).objects) == ""


@pytest.mark.parametrize(
    "values",
    [
        {},
        COMPLETE,
        {"runtime": {"persistence": {"s3": {"enabled": False}, "storageClass": "efs"}}},
        {"runtime": {"scaling": {"enabled": False}, "replicas": 3}},
        {"runtime": {"queueAgent": {"recycle": {"by": "nobody"}}, "strategy": {"type": "Recreate"}}},
    ],
    ids=["default", "everything", "efs", "fixed", "plain"],
)
def test_every_kind_of_release_is_accepted_without_a_warning(api: Running, values: dict[str, Any]) -> None:
    assert dry_run(api, released(values).objects) == ""


@pytest.mark.parametrize("kind", ["sdwebui", "comfyui", "invokeai", "openai", "http"])
def test_no_two_containers_of_any_type_listen_on_one_port(api: Running, kind: str) -> None:
    """The API server warns of a port that is taken twice."""
    extra = {} if kind == "sdwebui" else {"runtime": {"inferenceApi": {"image": {"repository": "r", "tag": "t"}}}}
    assert dry_run(api, released(extra, type=kind, dynamicModel=kind == "sdwebui").objects) == ""


def test_the_api_server_refuses_what_the_schema_refuses(api: Running) -> None:
    objects = released().objects
    [deployment] = [item for item in objects if item["kind"] == "Deployment"]
    broken = json.loads(json.dumps(deployment))
    resources = broken["spec"]["template"]["spec"]["initContainers"][0]["resources"]
    resources["limits"]["nvidia.com/gpu"] = "2"
    with pytest.raises(AssertionError, match=r"nvidia\.com/gpu"):
        dry_run(api, [broken])


def test_any_change_of_the_models_storage_is_an_upgrade_that_the_api_server_takes(api: Running) -> None:
    """Volumes and claims cannot be changed: other content has another name."""
    store = {"s3": {"modelBucket": "one"}}
    changes: list[dict[str, Any]] = [
        store,
        {"s3": {"modelBucket": "two"}},
        {"s3": {"modelBucket": "two", "prefix": "models/"}},
        {"s3": {"modelBucket": "two"}, "size": "3Ti"},
        {"s3": {"modelBucket": "two"}, "accessModes": ["ReadWriteMany"]},
        {"existingVolume": "mine", "s3": {"enabled": False}},
        {"s3": {"enabled": False}, "storageClass": "efs"},
        store,
    ]
    seen = set()
    for persistence in changes:
        values = {"karpenter": {"enabled": False}, "runtime": {"persistence": persistence}}
        objects = render(values, release="stored", namespace="default")
        kept = [item for item in objects if item["kind"] in {"PersistentVolume", "PersistentVolumeClaim"}]
        seen.add(json.dumps(kept, sort_keys=True))
        document = {"apiVersion": "v1", "kind": "List", "items": kept}
        api.kubectl("apply", "--server-side", "--validate=strict", "--filename=-", text=json.dumps(document))
    assert len(seen) == len(changes) - 1
