"""Links that no agent may follow, or that lead to no picture: each ends its task at once, with words that say why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from contract.objects import RECORDS
from contract.record import Status
from tests.support.stack import Stack, task, unique
from tests.support.web import WebServer, picture, web_server

METADATA = "169.254.169.254"

LOOPBACK = [
    "http://127.0.0.1:{port}/picture.png",
    "http://127.1:{port}/picture.png",
    "http://127.0.1:{port}/picture.png",
    "http://127.255.255.254:{port}/picture.png",
    "http://2130706433:{port}/picture.png",
    "http://0x7f000001:{port}/picture.png",
    "http://0x7f.0.0.1:{port}/picture.png",
    "http://0177.0.0.1:{port}/picture.png",
    "http://017700000001:{port}/picture.png",
    "http://0.0.0.0:{port}/picture.png",
    "http://0:{port}/picture.png",
    "http://localhost:{port}/picture.png",
    "http://LOCALHOST:{port}/picture.png",
    "http://localhost.:{port}/picture.png",
    "http://[::1]:{port}/picture.png",
    "http://[::]:{port}/picture.png",
    "http://[::ffff:127.0.0.1]:{port}/picture.png",
    "http://[::ffff:7f00:1]:{port}/picture.png",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/picture.png",
    "http://[64:ff9b::7f00:1]:{port}/picture.png",
    "http://[2002:7f00:1::]:{port}/picture.png",
    "http://user:secret@127.0.0.1:{port}/picture.png",
    "http://example.com@127.0.0.1:{port}/picture.png",
    "http://127。0。0。1:{port}/picture.png",
    "HTTP://127.0.0.1:{port}/picture.png",
    "http://127.0.0.1:{port}/picture.png?of=a dog",
    "http://127.0.0.1:{port}/picture\tof\na dog.png",
    " http://127.0.0.1:{port}/picture.png ",
]
"""This machine itself, in all spellings; `{port}` is a server that would answer."""

PRIVATE = [
    f"http://{METADATA}/latest/meta-data/",
    f"http://[::ffff:{METADATA}]/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://100.100.100.200/latest/meta-data/",
    "http://10.0.0.1/picture.png",
    "http://172.16.0.1/picture.png",
    "http://192.168.0.1/picture.png",
    "http://100.64.0.1/picture.png",
    "http://198.18.0.1/picture.png",
    "http://224.0.0.1/picture.png",
    "http://255.255.255.255/picture.png",
    "http://[fe80::1]/picture.png",
    "http://[fc00::1]/picture.png",
    "http://[ff02::1]/picture.png",
    "https://127.0.0.1:{port}/picture.png",
]
"""Other addresses that are nobody's business."""

REDIRECTS = [
    f"http://{METADATA}/latest/meta-data/iam/security-credentials/",
    "http://127.0.0.1:1/",
    "http://localhost:1/",
    "http://[::1]:1/",
    "http://0x7f000001:1/",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "s3://somebody-elses/picture.png",
    "gopher://127.0.0.1:1/",
    "//127.0.0.1:1/picture.png",
    "",
]
"""Where an allowed server sends the agent on to."""

SCHEMES = [
    "file:///etc/passwd",
    "file:/etc/passwd",
    "ftp://127.0.0.1/picture.png",
    "gopher://127.0.0.1:{port}/",
    "http://",
    "http:///picture.png",
    "http://127.0.0.1:99999/picture.png",
    "s3://somebody-elses-bucket/picture.png",
    "s3://{bucket}/.tasks/{task}.json",
    "s3://{bucket}/.payloads/x/y.json",
    "s3://{bucket}/",
    "s3://{bucket}/no-such-object.png",
    "s3://{bucket}/text.png",
]

ANSWERS = [
    "/loop",
    "/endless",
    "/announced",
    "/cut",
    "/bomb",
    "/text",
    "/lying",
    "/empty",
    "/status/401",
    "/status/404",
    "/status/410",
]
"""Routes of a server that is allowed, and answers badly."""


LIMITED = ["/slow", "/mute"]
"""Routes that are given up after a time."""

NAMES = [
    *(link for link in LOOPBACK),
    "http://{machine}:{port}/picture.png",
    *PRIVATE,
    *SCHEMES,
    *(f"redirect to {target or 'nowhere'}" for target in REDIRECTS),
    *(f"answer {route}" for route in [*ANSWERS, *LIMITED]),
]


def link_of(name: str, *, allowed: str, forbidden: str, bucket: str) -> str:
    """Returns the link that a name stands for.

    Args:
        name: one of `NAMES`.
        allowed: the address of a server that the agents may ask.
        forbidden: the address of one that they may not.
        bucket: the output bucket.
    """
    kind, _, rest = name.partition(" ")
    port = forbidden.rpartition(":")[2]
    values = {"port": port, "bucket": bucket, "task": "somebody-elses", "machine": socket.gethostname()}
    if kind == "answer":
        return f"{allowed}{rest}"
    if kind == "redirect":
        target = rest.removeprefix("to ").removeprefix("nowhere")
        return f"{allowed}/redirect?to={quote(target.format(**values))}"
    return name.format(**values)


@pytest.fixture(scope="module")
def burst(stack: Stack, web: str) -> Iterator[tuple[dict[str, str], WebServer]]:
    """Every link sent as a task of its own, all at once; the tasks' ids by the links' names."""
    runtime, bucket = stack.spare_runtime("links"), stack.deployment.place.output_bucket
    stack.start_pod(runtime, PREFETCH=100, INPUT_ALLOWED_ORIGINS=web, INPUT_TIMEOUT_SECONDS=6)
    s3 = stack.deployment.clients.s3
    s3.put_object(Bucket=bucket, Key="text.png", Body=b"no picture " * 100)
    s3.put_object(Bucket=bucket, Key=f"{RECORDS}somebody-elses.json", Body=picture())
    with web_server() as forbidden:
        links = {
            name: link_of(name, allowed=web, forbidden=forbidden.url, bucket=bucket)
            for name in sorted(NAMES, key=lambda name: name.removeprefix("answer ") not in LIMITED)
        }
        yield {name: send(stack, runtime, link) for name, link in links.items()}, forbidden


def send(stack: Stack, runtime: str, link: str) -> str:
    """Submits a task whose input is a link, and returns its id."""
    task_id = unique("link")
    body = task(task_id, runtime, tasktype="image-to-image", init_images=[link])
    answer = stack.post("/v1alpha2", {"task": body})
    assert answer.status_code == 200, answer.text
    return task_id


def test_there_are_at_least_forty_of_them() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_a_link_is_refused_with_a_clear_failure_callback(
    name: str, burst: tuple[dict[str, str], WebServer], stack: Stack
) -> None:
    tasks, forbidden = burst
    task_id = tasks[name]
    callback = stack.deployment.callbacks.wait_for(task_id, within=45)
    assert callback.body == {
        "id": task_id,
        "result": False,
        "image_url": [],
        "output_url": "",
        "context": {"test": task_id},
    }
    submission = stack.wait_status(task_id, Status.FAILED)
    assert submission.error is not None
    assert submission.error.code.startswith("input_"), submission.error
    assert len(submission.error.message) > 20
    for secret in ("Traceback", "root:", "secret"):
        assert secret not in submission.error.message
    assert forbidden.asked == [], "the agent spoke to a server that it may not speak to"


def test_an_honest_link_works_all_the_same(
    burst: tuple[dict[str, str], WebServer], stack: Stack, runtime: str, web: str
) -> None:
    stack.start_pod(runtime, INPUT_ALLOWED_ORIGINS=web)
    s3, bucket = stack.deployment.clients.s3, stack.deployment.place.output_bucket
    s3.put_object(Bucket=bucket, Key="inputs/picture.png", Body=picture())
    honest = [f"{web}/picture.png", f"{web}/redirect?to=/picture.png", f"s3://{bucket}/inputs/picture.png"]
    for task_id in [send(stack, runtime, link) for link in honest]:
        stack.wait_ended_once(task_id, Status.SUCCEEDED)


def test_the_links_of_a_workflow_are_judged_as_well(
    burst: tuple[dict[str, str], WebServer], stack: Stack, comfy_runtime: str, web: str
) -> None:
    _, forbidden = burst
    bucket = stack.deployment.place.output_bucket
    pod = stack.start_pod(comfy_runtime, INPUT_ALLOWED_ORIGINS=web)

    def submit(link: str) -> str:
        task_id = unique("workflow")
        content = {
            "1": {"class_type": "LoadImage", "inputs": {"image": link}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "image"}},
        }
        metadata = task(task_id, comfy_runtime, tasktype="pipeline")["metadata"]
        answer = stack.post("/v1alpha2", {"task": {"metadata": metadata, "content": content}})
        assert answer.status_code == 200, answer.text
        return task_id

    names = ["http://localhost:{port}/picture.png", PRIVATE[0], f"redirect to {REDIRECTS[0]}", "file:///etc/passwd"]
    names += ["s3://{bucket}/.tasks/{task}.json", "answer /text"]
    refused = [submit(link_of(name, allowed=web, forbidden=forbidden.url, bucket=bucket)) for name in names]
    for task_id in refused:
        submission = stack.wait_ended_once(task_id, Status.FAILED, drained=False)
        assert submission.error is not None
        assert submission.error.code.startswith("input_"), submission.error
    stack.wait_ended_once(submit(f"{web}/picture.png"), Status.SUCCEEDED)
    assert len(pod.fake.jobs()) == 1
    assert forbidden.asked == []
