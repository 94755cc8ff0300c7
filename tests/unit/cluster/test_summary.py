"""How a cluster stands: of a runtime's own release, and of no other with its name."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.kubectl import Access
from cluster.summary import summary, unscaled
from contract.config import parse_config

CONFIG = parse_config("modelsRuntime: [{name: sdruntime, namespace: images, type: sdwebui, dynamicModel: true}]")
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
REFUSED = {"conditions": [{"type": "Ready", "status": "False", "message": "no such queue"}]}


def of_release(namespace: str, status: dict[str, Any]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/instance": "sdruntime"}
    return {"metadata": {"namespace": namespace, "labels": labels}, "spec": {"nodeName": "a"}, "status": status}


class Answers(Access):
    """A cluster that has these objects, of whatever kind is asked for."""

    objects: dict[str, list[Any]]

    async def items(self, *arguments: str) -> list[Any]:
        return self.objects.get(arguments[0], [])


def cluster(**objects: list[Any]) -> Access:
    access = Answers(("kubectl",), "helm")
    object.__setattr__(access, "objects", {name.replace("_", "."): items for name, items in objects.items()})
    return access


@pytest.mark.parametrize(
    ("scaled", "said"),
    [
        ([of_release("images", READY)], []),
        ([of_release("images", REFUSED)], ["sdruntime: KEDA does not scale it: no such queue"]),
        ([of_release("images", {})], ["sdruntime: KEDA does not scale it: it has not looked yet"]),
        ([of_release("images", READY), of_release("others", REFUSED)], []),
        ([of_release("others", READY)], ["sdruntime: KEDA does not scale it: it has not looked yet"]),
    ],
)
async def test_what_keda_does_not_scale_is_told_in_its_words(scaled: list[Any], said: list[str]) -> None:
    assert await unscaled(cluster(scaledobjects_keda_sh=scaled), CONFIG) == said


async def test_the_pods_of_a_release_of_the_same_name_elsewhere_are_not_counted() -> None:
    pods = [of_release("images", READY), of_release("others", READY), of_release("others", {})]
    _, line = await summary(cluster(pods=pods), CONFIG)
    assert line == "sdruntime: 1 ready; the autoscaler wants 0"
