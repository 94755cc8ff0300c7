"""What Helm itself makes of a change to a release: values that were set stay, and a newer chart's defaults come in."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloud.canary.release import Release
from cloud.helm import helm_binary
from cloud.reporter import Reporter
from contract.config import parse_config
from tests.cloud.tools.kubernetes_api import KubernetesApi, kubernetes_api

NAMESPACE = "/api/v1/namespaces/default"
CHART = {"apiVersion": "v2", "name": "small", "version": "1.0.0"}
SHOWN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shown}\ndata: {values: {{ toJson .Values | quote }}}\n"
CONFIG = parse_config("modelBucketArn: arn:aws:s3:::models\nmodelsRuntime: [{name: sdruntime, type: comfyui}]")


def keep_release(api: KubernetesApi, *, defaults: dict[str, Any], values: dict[str, Any]) -> None:
    """Lets the cluster know a release as Helm stores it (helm/helm, pkg/storage/driver/secrets.go)."""
    release = {
        "name": "sdruntime",
        "namespace": "default",
        "version": 1,
        "info": {"status": "deployed"},
        "chart": {"metadata": CHART, "values": defaults, "templates": []},
        "config": values,
    }
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    labels = {"name": "sdruntime", "owner": "helm", "status": "deployed", "version": "1"}
    secret = {"metadata": {"name": "sh.helm.release.v1.sdruntime.v1", "labels": labels}, "data": {"release": packed}}
    resource = {"name": "configmaps", "kind": "ConfigMap", "namespaced": True, "verbs": ["get", "create", "update"]}
    api.objects |= {
        "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": [resource]},
        f"{NAMESPACE}/secrets": {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": [secret]},
    }


def test_a_canary_keeps_what_was_set_and_takes_up_what_a_newer_chart_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(json.dumps(CHART))
    (chart / "templates" / "shown.yaml").write_text(SHOWN)
    newer = {"runtime": {"new": "comes with the chart", "changed": 2, "set": 1, "canary": {"percent": 0}}}
    (chart / "values.yaml").write_text(json.dumps(newer))
    # Helm's own answer to the very command, short of changing the cluster.
    helm, answer = tmp_path / "helm", tmp_path / "answer"
    helm.write_text(
        f'#!/bin/sh\nexec {helm_binary()} "$@" --dry-run=client --disable-openapi-validation -o json > {answer}\n'
    )
    helm.chmod(0o755)
    monkeypatch.setattr("cloud.canary.release.helm_binary", lambda: helm)
    monkeypatch.setattr("cloud.canary.release.CHART", chart)
    with kubernetes_api(tmp_path) as api:
        keep_release(
            api,
            defaults={"runtime": {"changed": 1, "set": 1, "canary": {"percent": 0}}},
            values={"runtime": {"set": 7, "canary": {"percent": 20}}},
        )
        Release(CONFIG.runtimes[0], api.kubeconfig, Reporter()).remove_canary()
    (shown,) = (item for item in yaml.safe_load_all(json.loads(answer.read_text())["manifest"]) if item)
    assert json.loads(shown["data"]["values"]) == {
        "runtime": {"new": "comes with the chart", "changed": 2, "set": 7, "canary": {"percent": 0}}
    }
