"""A canary is judged by its own callbacks beside the others', and taken back when it does worse."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cloud.aws import Aws
from cloud.canary.state import read_all
from contract.callback import callback_attributes, callback_for
from contract.identifiers import TaskRef, new_ulid
from contract.objects import record_key
from contract.record import Record, Status, Submission, Timings
from contract.task import TaskType
from tests.cloud.synthesis import ROOT
from tests.cloud.tools.conftest import REGION, Run
from tests.cloud.tools.fake_tools import FakeTools, fake_tools
from tests.cloud.tools.kubernetes_api import KubernetesApi, kubernetes_api
from tests.support.deployment import Deployment, deploy
from tests.support.stack import unique
from tests.support.waiting import eventually

PODS = "/api/v1/namespaces/default/pods"
AGENT = "registry.example/agent:1"
POLL = 0.1
"""Seconds between two looks at the emulator, which shares the processors with what is tested."""
OLD, NEW = f"registry.example/runtime@sha256:{'0' * 64}", f"registry.example/runtime@sha256:{'1' * 64}"


class Clock:
    """Shows the time, until a window's end is called for: nobody waits for it."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def end_window(self) -> None:
        self._ahead += 600

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead


@dataclass
class Place:
    """A runtime with callbacks, a cluster and Helm, and the command line in front of them."""

    run: Run
    deployment: Deployment
    api: KubernetesApi
    helm: FakeTools
    config: Path
    clock: Clock

    def call(self, command: str, *arguments: str) -> Result:
        return self.run(
            *(command, "--runtime", "sdruntime", "--config", str(self.config)),
            *("--kubeconfig", str(self.api.kubeconfig), *arguments),
            AWS_ENDPOINT_URL=self.deployment.endpoint,
        )

    def canary(self, *arguments: str, failed: int = 0, seconds: float = 2.0) -> Result:
        """Runs `canary` while thirty tasks of each track end, of the canary's so many badly."""
        callbacks = []
        for number in range(30):
            callbacks.append(self._end("sdruntime-6d4cf56db6-abcde", succeeded=True, seconds=2.0))
            callbacks.append(self._end("sdruntime-canary-7b9d4-fghij", succeeded=number >= failed, seconds=seconds))
        telling = threading.Thread(target=self._tell, args=(callbacks,))
        telling.start()
        try:
            return self.call("canary", "--window", "600", *arguments)
        finally:
            telling.join()

    def _tell(self, callbacks: list[Any]) -> None:
        """Publishes as soon as somebody listens: a window is short."""
        place, clients = self.deployment.place, self.deployment.clients
        prefix = f"{place.callback_topic}-canary-"
        eventually(lambda: clients.sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls"), every=POLL)
        eventually(
            lambda: [
                item
                for item in clients.sns.list_subscriptions_by_topic(TopicArn=place.callback_topic_arn)["Subscriptions"]
                if "-canary-" in item["Endpoint"]
            ],
            every=POLL,
        )
        for some in batched(callbacks, 10, strict=True):
            clients.sns.publish_batch(TopicArn=place.callback_topic_arn, PublishBatchRequestEntries=some)
        eventually(self._all_heard, within=60, every=POLL)
        self.clock.end_window()

    def _all_heard(self) -> bool:
        try:
            return all(sum(self.deployment.queue_counts(url)) == 0 for url in self.left())
        except self.deployment.clients.sqs.exceptions.QueueDoesNotExist:
            return True  # the watching came to its end meanwhile

    def _end(self, pod: str, *, succeeded: bool, seconds: float) -> Any:
        """Leaves the record of one task, as the agent of that pod would, and returns its callback."""
        task_id, now = unique(), datetime.now(UTC)
        submission = Submission(
            submission=new_ulid(),
            runtime="sdruntime",
            tasktype=TaskType.TEXT_TO_IMAGE,
            prefix="output",
            status=Status.SUCCEEDED if succeeded else Status.FAILED,
            submitted_at=now,
            attempts=1,
            holder=f"{pod}-{new_ulid()}/1",
            timings=Timings(generation=seconds) if succeeded else None,
        )
        place, clients = self.deployment.place, self.deployment.clients
        # Some of each: where a record lies depends on whose it is.
        tenant = "alice" if succeeded else ""
        record = Record(id=task_id, tenant=tenant, current=submission).model_dump_json().encode()
        clients.s3.put_object(Bucket=place.output_bucket, Key=record_key(TaskRef(task_id, tenant)), Body=record)
        callback = callback_for(task_id, submission)
        attributes: Any = {
            name: {"DataType": "String", "StringValue": value}
            for name, value in callback_attributes(callback, submission, tenant).items()
        }
        return {"Id": task_id, "Message": callback.model_dump_json(), "MessageAttributes": attributes}

    def values(self) -> dict[str, Any]:
        """The values that Helm got last."""
        found: dict[str, Any] = json.loads(self.helm.said[-1])["runtime"]
        return found

    def left(self) -> list[str]:
        """Queues that the watching has left behind."""
        prefix = f"{self.deployment.place.callback_topic}-canary-"
        return self.deployment.clients.sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])


@pytest.fixture
def place(run: Run, ministack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    deployment = deploy(ministack)
    config = tmp_path / "config.yaml"
    config.write_text(deployment.config.model_dump_json(by_alias=True, exclude_none=True))
    with kubernetes_api(tmp_path) as api, fake_tools(tmp_path) as helm:
        monkeypatch.setattr("cloud.canary.release.helm_binary", lambda: tmp_path / "helm")
        api.lists[PODS] = []
        containers = {
            "initContainers": [{"name": "inference-api", "image": OLD}],
            "containers": [{"name": "queue-agent", "image": AGENT}],
        }
        api.objects["/apis/apps/v1/namespaces/default/deployments/sdruntime"] = {
            "metadata": {"name": "sdruntime"},
            "spec": {"selector": {}, "template": {"spec": containers}},
        }
        clock = Clock()
        monkeypatch.setattr("cloud.canary.watch.time", clock)
        monkeypatch.setattr("cloud.canary.watch._POLL", 1)
        yield Place(run, deployment, api, helm, config, clock)


def promoted(place: Place) -> dict[str, str]:
    """The images that a deployment must not take back."""
    states = read_all(Aws(REGION, place.deployment.endpoint), place.deployment.config.stack_name)
    return states["sdruntime"].promoted


def test_a_good_canary_passes_is_promoted_and_can_be_taken_back(place: Place) -> None:
    result = place.canary("--image", NEW, "--percent", "30")
    assert result.exit_code == 0, result.output
    assert "passed: canary: 30 tasks, 0.0% failed, p95 2.0 s; stable: 30 tasks" in result.output
    image = {"repository": "registry.example/runtime", "digest": f"sha256:{'1' * 64}", "tag": ""}
    # The agent's is named too: the release would keep that of a canary before.
    agent = {"repository": "registry.example/agent", "tag": "1", "digest": ""}
    assert place.values() == {
        "canary": {"percent": 30, "inferenceApi": {"image": image}, "queueAgent": {"image": agent}}
    }
    assert "upgrade sdruntime" in place.helm.calls[-1]
    assert "--reset-then-reuse-values" in place.helm.calls[-1]
    assert place.left() == []
    assert promoted(place) == {}

    assert place.call("promote").exit_code == 0
    assert place.values() == {"inferenceApi": {"image": image}, "canary": {"percent": 0}}
    assert promoted(place) == {"inferenceApi": NEW}

    assert place.call("rollback").exit_code == 0
    assert place.values()["inferenceApi"]["image"]["digest"] == f"sha256:{'0' * 64}"
    assert promoted(place) == {}
    assert "nothing to roll back" in place.call("rollback").output


def test_a_canary_that_fails_more_often_is_rolled_back_by_itself_and_before_the_window_ends(place: Place) -> None:
    result = place.canary("--image", NEW, failed=30)
    assert result.exit_code == 1
    assert "rolled back: it fails more often" in result.output
    assert place.values() == {"canary": {"percent": 0}}
    assert place.left() == []
    assert "no canary to promote" in place.call("promote").output


def test_a_slower_canary_is_rolled_back(place: Place) -> None:
    result = place.canary("--image", NEW, seconds=3.0)
    assert result.exit_code == 1
    assert "rolled back: it is slower" in result.output


def test_a_canary_whose_pods_crash_is_rolled_back_whatever_its_callbacks_say(place: Place) -> None:
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 2, "name": "inference-api"}
    waiting |= {"image": NEW, "imageID": "", "ready": False}
    status = {"initContainerStatuses": [waiting]}
    place.api.lists[PODS] = [{"metadata": {"name": "sdruntime-canary-x"}, "status": status}]
    result = place.call("canary", "--image", NEW, "--window", "30")
    assert result.exit_code == 1
    assert "rolled back: sdruntime-canary-x/inference-api: CrashLoopBackOff" in result.output


def test_too_few_tasks_decide_nothing_and_it_can_be_watched_again(place: Place) -> None:
    result = place.call("canary", "--image", NEW, "--window", "1")
    assert result.exit_code == 1
    assert "undecided, and it goes on" in result.output
    assert "has not passed" in place.call("promote").output
    other = place.call("canary", "--image", OLD, "--window", "1")
    assert "has a canary already" in other.output
    before = len(place.helm.calls)
    again = place.canary()
    assert again.exit_code == 0, again.output
    assert len(place.helm.calls) == before, "to watch changes nothing"


def test_a_dry_run_changes_nothing(place: Place) -> None:
    result = place.call("canary", "--image", NEW, "--dry-run")
    assert "would let 20 % of sdruntime run" in result.output
    assert "no canary to watch" in place.call("canary").output
    assert place.helm.calls == []


def test_a_cluster_out_of_reach_is_one_line_and_what_was_begun_can_be_rolled_back(place: Place) -> None:
    place.api.refuse = True
    broken = place.call("canary", "--image", NEW)
    assert broken.exit_code == 2
    assert "the cluster refuses: Forbidden" in broken.output
    assert place.helm.calls == []
    place.api.refuse = False
    assert place.call("rollback").exit_code == 0
    assert place.values() == {"canary": {"percent": 0}}


def test_a_runtime_of_another_chart_has_no_canary(run: Run) -> None:
    config = str(ROOT / "cloud" / "examples" / "all-settings.yaml")
    result = run("canary", "--runtime", "comfyruntime", "--image", NEW, "--config", config)
    assert result.exit_code == 2
    assert "comfyruntime is released from a chart of its own" in result.output


def test_while_a_deployment_is_under_way_no_canary_begins_and_none_is_promoted_but_one_is_taken_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.call("canary", "--image", NEW, "--window", "1").exit_code == 1
    monkeypatch.setattr("cloud.commands.canary.find_stack", lambda *_: {"StackStatus": "UPDATE_IN_PROGRESS"})
    for refused in (place.call("promote", "--force"), place.call("canary", "--image", NEW)):
        assert refused.exit_code == 2
        assert "is being deployed (UPDATE_IN_PROGRESS)" in refused.output
    assert place.call("rollback").exit_code == 0


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("canary: {percent: 10}", "extraValues.runtime.canary: take it out"),
        ("scaling: {maxReplicaCount: 1}", "set extraValues.runtime.scaling.maxReplicaCount to 2 or more"),
        ("replicas: 1, scaling: {enabled: false}", "set extraValues.runtime.replicas to 2 or more"),
    ],
)
def test_no_canary_begins_where_the_config_has_one_or_leaves_no_pod_for_it(
    run: Run, tmp_path: Path, ministack: str, own: str, sentence: str
) -> None:
    config = tmp_path / "config.yaml"
    runtime = f"{{name: sdruntime, type: comfyui, extraValues: {{runtime: {{{own}}}}}}}"
    config.write_text(f"modelBucketArn: arn:aws:s3:::models\nmodelsRuntime: [{runtime}]")
    arguments = ("--runtime", "sdruntime", "--image", NEW, "--config", str(config))
    result = run("canary", *arguments, AWS_ENDPOINT_URL=ministack)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
