"""What an agent's token may do: asked of a real API server, by tokens that are bound to pods as a kubelet's are."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from contract.cluster_tls import cluster_context
from tests.cluster.running import Running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMESPACE = "images"
COST = "controller.kubernetes.io/pod-deletion-cost"


class Agent:
    """Patches pods with a token."""

    def __init__(self, cluster: Running, *, bound_to: str = "") -> None:
        words = ["create", "token", "sdruntime", f"--namespace={NAMESPACE}"]
        if bound_to:
            words += ["--bound-object-kind=Pod", f"--bound-object-name={bound_to}"]
        self._token = cluster.kubectl(*words).stdout.strip()
        config = cluster.kubectl("config", "view", "--raw", "--output=json").stdout
        self._server = json.loads(config)["clusters"][0]["cluster"]["server"]
        self._authority = f"{cluster.state.kubeconfig.removesuffix('kubeconfig')}pki/ca.crt"

    def patch(self, pod: str, change: dict[str, Any], part: str = "") -> tuple[int, str]:
        """Returns the status and what the API server says."""
        url = f"{self._server}/api/v1/namespaces/{NAMESPACE}/pods/{pod}{part}"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/merge-patch+json"}
        # With the authority's own shape: the agent's way of trusting it.
        with httpx.Client(verify=cluster_context(self._authority), trust_env=False) as http:
            answer = http.patch(url, content=json.dumps(change), headers=headers)
        return answer.status_code, answer.json().get("message", "")


def annotated(**annotations: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": annotations}}


@pytest.fixture(scope="module")
def pods(cluster: Running) -> list[str]:
    """Two pods of the agent's service account, bound to no node."""
    names = ["own", "other"]
    for name in names:
        spec = {"serviceAccountName": "sdruntime", "containers": [{"name": "a", "image": "a"}], "schedulerName": "none"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec}
        cluster.kubectl("apply", f"--namespace={NAMESPACE}", "--filename=-", text=json.dumps(pod))
    return names


@pytest.fixture(scope="module")
def agent(cluster: Running, pods: list[str]) -> Agent:
    return Agent(cluster, bound_to="own")


@pytest.mark.parametrize(
    "change",
    [
        annotated(**{COST: "100", "karpenter.sh/do-not-disrupt": "true"}),
        annotated(**{COST: "0", "karpenter.sh/do-not-disrupt": None}),
    ],
)
def test_an_agent_says_whether_it_is_busy(agent: Agent, change: dict[str, Any]) -> None:
    assert agent.patch("own", change)[0] == 200


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metadata": {"finalizers": ["x.example/keep"]}}, "finalizers"),
        ({"metadata": {"labels": {"app.kubernetes.io/instance": "another"}}}, "labels"),
        (
            {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"}]}},
            "ownerReferences",
        ),
        (annotated(**{COST: "2147483647"}), "no others"),
        (annotated(mine="true"), "no others"),
        ({"spec": {"activeDeadlineSeconds": 1}}, "spec"),
    ],
    ids=["finalizers", "labels", "owner", "cost", "annotation", "spec"],
)
def test_an_agent_changes_nothing_else_of_its_pod(agent: Agent, change: dict[str, Any], why: str) -> None:
    status, says = agent.patch("own", change)
    assert (status, why in says) == (422, True), says


def test_an_agent_changes_no_other_pod(agent: Agent) -> None:
    status, says = agent.patch("other", annotated(**{COST: "0"}))
    assert status == 422
    assert "its own pod alone" in says


def test_a_token_that_is_bound_to_no_pod_changes_none(cluster: Running, pods: list[str]) -> None:
    status, says = Agent(cluster).patch("own", annotated(**{COST: "0"}))
    assert status == 422
    assert "its own pod alone" in says


def test_an_agent_reads_and_deletes_nothing(cluster: Running) -> None:
    account = f"--as=system:serviceaccount:{NAMESPACE}:sdruntime"
    for verb, what in (("get", "secrets"), ("delete", "pods"), ("create", "pods"), ("update", "pods/status")):
        assert cluster.kubectl("auth", "can-i", verb, what, account, check=False).stdout.strip() == "no"
