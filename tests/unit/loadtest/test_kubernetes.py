"""The Kubernetes observer, asked by the real client of an API server that answers as one does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from contract.config import parse_config
from loadtest.observe.kubernetes import KubernetesReplicas, kill_pod
from loadtest.observe.source import SourceError
from loadtest.samples import Replicas
from loadtest.target import Kind, Target, TargetError

CONFIG = parse_config("""
stackName: darkroom
modelBucketArn: arn:aws:s3:::models
modelsRuntime: [{name: sdruntime, namespace: images, type: sdwebui, dynamicModel: true}]
""")
CORE = "/api/v1"
PODS = f"{CORE}/namespaces/images/pods"
HPA = "/apis/autoscaling/v2/namespaces/images/horizontalpodautoscalers/keda-hpa-sdruntime/status"


def pod(name: str, phase: str, *, ready: bool = False, deleted: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "images"}
    if deleted:
        metadata["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    agent = {"name": "queue-agent", "ports": [{"name": "health", "containerPort": 9464}]}
    return {
        "metadata": metadata,
        "spec": {"containers": [agent]},
        "status": {"phase": phase, "conditions": conditions},
    }


def node(name: str, capacity: str) -> dict[str, Any]:
    labels = {"karpenter.sh/nodepool": "sdruntime", "karpenter.sh/capacity-type": capacity}
    return {"metadata": {"name": name, "labels": labels}}


class ApiServer:
    """Answers what it was given, by path; notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answer = outer.answers.get(unquote(self.path.partition("?")[0]))
                body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "text/plain" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_DELETE(self) -> None:
                outer.asked.append(f"DELETE {self.path}")
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """An API server, and a kubeconfig that names it."""
    made = ApiServer()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": made.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    made.answers = {
        PODS: {
            "items": [
                pod("a", "Running", ready=True),
                pod("b", "Pending"),
                pod("c", "Running", ready=True, deleted=True),
                pod("d", "Failed"),
            ]
        },
        HPA: {
            "metadata": {"name": "keda-hpa-sdruntime"},
            "spec": {"maxReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "sdruntime"}},
            "status": {"desiredReplicas": 3, "currentReplicas": 2},
        },
        f"{CORE}/nodes": {"items": [node("x", "spot"), node("y", "spot"), node("z", "on-demand")]},
        f"{PODS}/a:9464/proxy/metrics": "darkroom_agent_busy_seconds_total 12.5\n",
    }
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_pods_autoscaler_nodes_and_busy_seconds_are_read(api: ApiServer) -> None:
    seen = KubernetesReplicas(CONFIG).look()
    assert seen == {
        "replicas": {"sdruntime": Replicas(ready=1, starting=1, draining=1, wanted=3)},
        "nodes": {"sdruntime spot": 2, "sdruntime on-demand": 1},
        "busy": {"sdruntime/a": 12.5},
        "starts": {},
    }
    [pods] = [path for path in api.asked if path.startswith(f"{PODS}?")]
    assert "app.kubernetes.io%2Finstance%3Dsdruntime" in pods


def test_how_a_pod_came_to_serve_is_told_step_by_step(api: ApiServer) -> None:
    served = pod("a", "Running", ready=True)
    served["metadata"]["creationTimestamp"] = "2026-03-01T12:00:00Z"
    served["status"]["conditions"] = [
        {"type": kind, "status": "True", "lastTransitionTime": f"2026-03-01T12:00:{second:02}Z"}
        for kind, second in (("PodScheduled", 2), ("Initialized", 9), ("Ready", 11))
    ]
    state = {"running": {"startedAt": "2026-03-01T12:00:05Z"}}
    container = {"name": "inference-api", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": state}
    served["status"]["initContainerStatuses"] = [container]
    api.answers[PODS] = {"items": [served, pod("b", "Pending")]}
    [(name, start)] = KubernetesReplicas(CONFIG).look()["starts"].items()
    assert name == "sdruntime/a"
    assert list(start.steps.values()) == [2, 3, 4, 2, 11]


def test_a_pod_that_is_a_process_of_this_machine_is_asked_directly(api: ApiServer) -> None:
    """An API server passes nothing on to a loopback address."""
    near = pod("a", "Running", ready=True)
    near["spec"]["containers"][0]["ports"][0]["containerPort"] = api.server.server_address[1]
    near["status"]["podIP"] = "127.0.0.1"
    api.answers[PODS] = {"items": [near]}
    api.answers["/metrics"] = "darkroom_agent_busy_seconds_total 7\n"
    assert KubernetesReplicas(CONFIG).look()["busy"] == {"sdruntime/a": 7.0}


def test_nodes_with_a_gpu_count_whoever_made_them(api: ApiServer) -> None:
    gpu = {"metadata": {"name": "local-1"}, "status": {"allocatable": {"nvidia.com/gpu": "1"}}}
    system = {"metadata": {"name": "system"}, "status": {"allocatable": {"cpu": "4"}}}
    api.answers[f"{CORE}/nodes"] = {"items": [gpu, system]}
    assert KubernetesReplicas(CONFIG).look()["nodes"] == {"no pool": 1}


def test_a_canarys_replicas_are_wanted_too(api: ApiServer) -> None:
    canary = pod("e", "Pending")
    canary["metadata"]["labels"] = {"darkroom/track": "canary"}
    api.answers[PODS]["items"].append(canary)
    api.answers[HPA.replace("sdruntime", "sdruntime-canary")] = {
        **api.answers[HPA],
        "status": {"desiredReplicas": 2, "currentReplicas": 0},
    }
    assert KubernetesReplicas(CONFIG).look()["replicas"]["sdruntime"] == Replicas(
        ready=1, starting=2, draining=1, wanted=5
    )


def test_a_pod_that_serves_is_killed_and_no_other(api: ApiServer) -> None:
    target = Target(Kind.KUBERNETES, "", CONFIG, None)
    assert kill_pod(target) == "a"
    assert api.asked[-1] == f"DELETE {PODS}/a?gracePeriodSeconds=0"
    api.answers[PODS] = {"items": [pod("b", "Pending")]}
    assert kill_pod(target) == ""


def test_without_an_autoscaler_or_metrics_the_rest_is_still_seen(api: ApiServer) -> None:
    del api.answers[HPA], api.answers[f"{PODS}/a:9464/proxy/metrics"]
    seen = KubernetesReplicas(CONFIG).look()
    assert seen["replicas"]["sdruntime"].wanted is None
    assert seen["busy"] == {}


def test_a_server_that_does_not_answer_is_said_in_one_line(api: ApiServer) -> None:
    observer = KubernetesReplicas(CONFIG)
    del api.answers[PODS]
    with pytest.raises(SourceError, match="Kubernetes: "):
        observer.look()


def test_a_runtime_that_keda_does_not_scale_is_said_before_the_load(api: ApiServer) -> None:
    path = "/apis/keda.sh/v1alpha1/namespaces/images/scaledobjects"
    condition = {"type": "Ready", "status": "False", "message": "cannot get queueName from queueURL"}
    api.answers[path] = {"items": [{"status": {"conditions": [condition, {"type": "Paused", "status": "False"}]}}]}
    with pytest.raises(TargetError, match="sdruntime: KEDA does not scale it: cannot get queueName from queueURL"):
        KubernetesReplicas(CONFIG)
    condition["status"] = "True"
    assert KubernetesReplicas(CONFIG).look()["replicas"]


def test_a_context_that_is_not_there_is_named(api: ApiServer) -> None:
    with pytest.raises(TargetError, match="nowhere"):
        KubernetesReplicas(CONFIG, "nowhere")
