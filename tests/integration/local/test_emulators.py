"""The embedded emulators keep to themselves, and do what the design leans on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from botocore.exceptions import ClientError

from contract.config import parse_config
from contract.topology import topology
from local.clients import make_clients
from local.emulator import Findings, examine, name_of
from local.emulators.environment import ensure_environment
from local.emulators.kinds import KINDS, Kind
from local.emulators.process import Emulator, EmulatorFailedError, serve_environment
from local.folders import state_folder
from local.provision import provision
from tests.support.deployment import CONFIG, Deployment, deploy
from tests.support.waiting import eventually, free_port


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def emulator(
    request: pytest.FixtureRequest, localstack_process: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Emulator]:
    """Each emulator in turn."""
    kind: Kind = request.param
    if kind is localstack_process.kind:
        yield localstack_process
        return
    python = ensure_environment(state_folder(), say=print, kind=kind)
    process = Emulator(python=python, folder=tmp_path_factory.mktemp(kind.name), kind=kind)
    try:
        process.start()
        yield process.wait_until_ready()
    finally:
        process.stop()


@pytest.fixture(scope="module")
def deployment(emulator: Emulator) -> Deployment:
    """A provisioned stack on it."""
    return deploy(emulator.endpoint)


def test_it_says_its_name_and_lacks_nothing_that_the_service_leans_on(deployment: Deployment) -> None:
    assert name_of(deployment.endpoint).startswith(("LocalStack 2026", "MiniStack 1"))
    assert examine(deployment.clients, deployment.place) == Findings()


def test_it_listens_on_this_machine_alone(emulator: Emulator) -> None:
    listening = [
        item.laddr for item in psutil.Process(emulator.pid).net_connections("inet") if item.status == psutil.CONN_LISTEN
    ]
    assert {(address.ip, address.port) for address in listening} == {("127.0.0.1", emulator.port)}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "evil.example"}, 403),
        ("GET", {"Origin": "http://evil.example"}, 200),
        ("PUT", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "http://evil.example"}, 403),
        ("POST", {"Origin": "null"}, 403),
    ],
)
def test_a_page_of_another_site_neither_reads_under_its_own_name_nor_writes(
    deployment: Deployment, method: str, headers: dict[str, str], status: int
) -> None:
    form = {"files": {"key": (None, "theirs"), "file": b"x"}} if method == "POST" else {}
    path = f"/{deployment.place.output_bucket}" + ("/theirs" if method == "PUT" else "")
    answer = httpx.request(method, deployment.endpoint + path, headers=headers, **form)  # type: ignore[arg-type]
    assert answer.status_code == status
    # What reads without asking gives nothing to the page: the browser is not told that it may.
    assert "access-control-allow-origin" not in answer.headers
    assert deployment.object_keys("theirs") == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_bound_to_another_address_it_delivers_all_the_same(kind: Kind, tmp_path: Path) -> None:
    python = ensure_environment(state_folder(), say=print, kind=kind)
    port = free_port()
    command = [str(python), "-I", str(kind.serve), "--leash", "--host", "127.0.0.2", "--port", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=serve_environment(python, tmp_path))
    endpoint = f"http://127.0.0.2:{port}"
    try:
        eventually(lambda: name_of(endpoint).startswith(kind.title))
        clients = make_clients(endpoint)
        place = topology(parse_config(CONFIG.format(stack="elsewhere")))
        list(provision(place, clients))
        assert examine(clients, place) == Findings()
    finally:
        process.kill()
        process.wait()


def test_it_writes_nothing_outside_its_folder(emulator: Emulator) -> None:
    files = [Path(item.path) for item in psutil.Process(emulator.pid).open_files()]
    folder = emulator.log.parent
    assert [file for file in files if "/site-packages/" not in str(file) and not file.is_relative_to(folder)] == []


def test_a_second_one_on_its_port_is_refused(localstack_process: Emulator, tmp_path: Path) -> None:
    second = Emulator(python=Path("/bin/false"), folder=tmp_path, port=localstack_process.port)
    with pytest.raises(OSError, match="in use"):
        second.start()


def test_one_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = Emulator(python=Path("/bin/false"), folder=tmp_path)
    broken.start()
    with pytest.raises(EmulatorFailedError, match=r"localstack\.log"):
        broken.wait_until_ready()
    broken.stop()


def test_it_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from local.folders import state_folder\n"
        "from local.emulators.environment import ensure_environment\n"
        "from local.emulators.process import Emulator\n"
        "process = Emulator(python=ensure_environment(state_folder(), say=print), folder=Path(sys.argv[1]))\n"
        "process.start()\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_of_twenty_conditional_writers_exactly_one_wins(deployment: Deployment) -> None:
    s3, bucket = make_clients(deployment.endpoint, connections=20).s3, deployment.place.output_bucket

    def race(**condition: str) -> list[str]:
        start = threading.Barrier(20)

        def write(number: int) -> str:
            start.wait(10)
            body = f"{condition} {number}".encode()  # the ETag is the content's: equal content would win too
            try:
                s3.put_object(Bucket=bucket, Key="contested", Body=body, **condition)  # type: ignore[arg-type]
            except ClientError as error:
                return error.response["Error"]["Code"]
            return "won"

        with ThreadPoolExecutor(20) as pool:
            return sorted(pool.map(write, range(20)))

    lost = ["PreconditionFailed"] * 19
    assert race(IfNoneMatch="*") == [*lost, "won"]
    assert race(IfMatch=s3.head_object(Bucket=bucket, Key="contested")["ETag"]) == [*lost, "won"]


def test_a_long_poll_ends_as_soon_as_a_message_is_there(deployment: Deployment) -> None:
    url = deployment.queue_url("comfyruntime")
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(
            deployment.clients.sqs.receive_message,
            QueueUrl=url,
            WaitTimeSeconds=20,
            MessageAttributeNames=["All"],
        )
        deployment.clients.sns.publish(
            TopicArn=deployment.place.task_topic_arn,
            Message="a task",
            MessageAttributes={"runtime": {"DataType": "String", "StringValue": "comfyruntime"}},
        )
        [message] = poll.result(5)["Messages"]
    # Raw delivery: the body is the message itself, and its attributes are SQS attributes.
    assert message["Body"] == "a task"
    assert message["MessageAttributes"]["runtime"]["StringValue"] == "comfyruntime"


def test_queue_urls_have_the_address_by_which_the_caller_came(deployment: Deployment) -> None:
    assert deployment.queue_url("sdruntime").startswith(deployment.endpoint)


def test_the_long_poll_of_a_client_that_has_gone_takes_no_message(deployment: Deployment) -> None:
    url = deployment.queue_url("comfyruntime")
    script = (
        "import sys\n"
        "from local.clients import make_clients\n"
        "sqs = make_clients(sys.argv[1]).sqs\n"
        "print('polling', flush=True)\n"
        "sqs.receive_message(QueueUrl=sys.argv[2], WaitTimeSeconds=20)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, deployment.endpoint, url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "polling\n"
    port = int(deployment.endpoint.rpartition(":")[2])
    client = psutil.Process(process.pid)

    def is_connected() -> bool:
        return any(item.raddr and item.raddr.port == port for item in client.net_connections("inet"))

    eventually(is_connected)
    process.kill()
    process.wait()
    process.stdout.close()
    deployment.clients.sqs.send_message(QueueUrl=url, MessageBody="for somebody else")
    assert deployment.clients.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)["Messages"]


def test_the_trace_and_the_group_of_a_message_reach_its_queue(deployment: Deployment) -> None:
    url = deployment.queue_url("dynamicruntime")
    trace = "Root=1-6b0cd4cc-7de771af39ebd56608290bf5"
    sns = make_clients(deployment.endpoint).sns
    sns.meta.events.register(
        "before-call.sns", lambda params, **_: params["headers"].update({"X-Amzn-Trace-Id": trace})
    )
    runtime: Any = {"runtime": {"DataType": "String", "StringValue": "dynamicruntime"}}
    sns.publish_batch(
        TopicArn=deployment.place.task_topic_arn,
        PublishBatchRequestEntries=[
            {"Id": group, "Message": group, "MessageAttributes": runtime, "MessageGroupId": group}
            for group in ("alice", "bob")
        ],
    )
    found: dict[str, Any] = {}
    while len(found) < 2:
        answer = deployment.clients.sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=5, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        )
        found |= {message["Body"]: message["Attributes"] for message in answer["Messages"]}
    assert {name: values["MessageGroupId"] for name, values in found.items()} == {"alice": "alice", "bob": "bob"}
    assert {values["AWSTraceHeader"] for values in found.values()} == {trace}
