"""A Kubernetes API as far as the tools talk to it: it keeps objects by their path, and remembers who asked what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.serving import ThreadedServer


@dataclass
class KubernetesApi:
    """The API server's memory."""

    kubeconfig: Path
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Items by path, such as `/api/v1/nodes`."""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Single objects by path."""
    asked: list[str] = field(default_factory=list)
    """`METHOD path` of each request."""
    refuse: bool = False
    finalized: set[str] = field(default_factory=set)
    """Paths of objects that a finalizer keeps when they are deleted."""
    follow: dict[str, str] = field(default_factory=dict)
    """What goes with an object that is deleted, by path."""

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request."""
        self.asked.append(f"{request.method} {request.path}")
        if self.refuse:
            return web.json_response({"kind": "Status", "status": "Failure", "reason": "Forbidden"}, status=403)
        if request.method == "DELETE":
            for path in {request.path, self.follow.get(request.path, request.path)} - self.finalized:
                parent, _, name = path.rpartition("/")
                self.lists[parent] = [item for item in self.lists.get(parent, []) if item["metadata"]["name"] != name]
            return web.json_response({"kind": "Status", "status": "Success"})
        if request.path in self.lists:
            return web.json_response({"kind": "List", "metadata": {}, "items": self.lists[request.path]})
        if request.path in self.objects:
            return web.json_response(self.objects[request.path])
        return web.json_response({"kind": "Status", "status": "Failure", "reason": "NotFound"}, status=404)


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[KubernetesApi]:
    """Serves an API, and writes a kubeconfig for it."""
    api = KubernetesApi(folder / "kubeconfig")

    async def application() -> web.Application:
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", api.handle)
        return made

    with ThreadedServer(application) as server:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": server.url}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        api.kubeconfig.write_text(json.dumps(document))
        yield api


def deployment(runtime: str, *, track: str = "stable", ready: int, wanted: int) -> dict[str, Any]:
    """Returns a Deployment as the chart makes it."""
    labels = {"app.kubernetes.io/instance": runtime, "darkroom/track": track}
    return {
        "metadata": {"name": runtime if track == "stable" else f"{runtime}-{track}", "labels": labels},
        "spec": {"replicas": wanted, "selector": {}, "template": {"metadata": {}, "spec": {"containers": []}}},
        "status": {"readyReplicas": ready},
    }


def node(name: str, runtime: str, *, capacity: str, instance_type: str = "g5.2xlarge") -> dict[str, Any]:
    """Returns a Node as Karpenter makes it."""
    labels = {"karpenter.sh/capacity-type": capacity, "node.kubernetes.io/instance-type": instance_type}
    taint = {"key": "runtime", "value": runtime, "effect": "NoSchedule"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [taint]}}
