"""The sample application: the console from another server, with the key of whoever looks, and its callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.integration.console.conftest import Shown
from tests.support.deployment import CallbackQueue
from tests.support.processes import Process
from tests.support.stack import Stack, task, unique, workflow
from tests.support.waiting import eventually, free_port

ALICE, BOB = {"x-api-key": "first-key"}, {"x-api-key": "second-key"}


def start(stack: Stack, folder: Path, api: str) -> str:
    """Starts a sample application with a queue of its own, and returns its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    queue = CallbackQueue(stack.deployment.clients, stack.deployment.place)
    environment = stack.deployment.aws_environment() | {
        "API_URL": api,
        "CALLBACK_QUEUE_URL": queue.url,
        "IMAGE_SOURCES": stack.deployment.endpoint,
        "UPLOAD_SOURCES": stack.deployment.endpoint,
        "PORT": str(port),
    }
    process = Process("sample", "api.sample", folder=folder, environment=environment, ready_url=f"{url}/healthz")
    stack.processes.append(process)
    process.wait_ready()
    return url


def submit_and_cancel(client: httpx.Client, key: dict[str, str]) -> str:
    """Lets a task end without a GPU; its callback comes at once."""
    task_id = unique("sampled")
    body = {"task": task(task_id, "comfyruntime", tasktype="pipeline") | {"content": workflow("x")}}
    assert client.post("/v1alpha2", json=body, headers=key).status_code == 200
    assert client.delete(f"/v1/tasks/{task_id}", headers=key).status_code in {200, 202}
    return task_id


def test_it_shows_each_key_its_own_tasks_and_callbacks_and_holds_none_itself(
    shown: Shown, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    with Stack(shown.stack.deployment, tmp_path) as stack:
        stack.start_api(API_KEYS="alice=first-key,bob=second-key")
        url = start(stack, tmp_path, stack.api)
        with httpx.Client(base_url=url, timeout=30) as client:
            for path in ("/v1/tasks", "/callbacks/deliveries", "/callbacks/events"):
                assert client.get(path).status_code == 401, path
                assert client.get(path, headers={"x-api-key": "wrong"}).json()["error"]["code"] == "unauthorized"
            assert client.get("/metrics").json()["error"]["code"] == "unknown_route"
            assert client.get("/", headers={"host": "evil.example"}).status_code == 403
            alices, bobs = submit_and_cancel(client, ALICE), submit_and_cancel(client, BOB)

            def heard(key: dict[str, str]) -> list[str]:
                found = client.get("/callbacks/deliveries", headers=key)
                return [item["callback"]["id"] for item in found.json()]

            eventually(lambda: (heard(ALICE), heard(BOB)) == ([alices], [bobs]))
            file = client.post("/v1/inputs", content=b"x" * 300_000, headers=ALICE | {"content-type": "image/png"})
            assert file.json()["bytes"] == 300_000

        page = open_page(url)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("alice")
        dialog.get_by_label("Key", exact=True).fill("first-key")
        dialog.get_by_role("button", name="Use this key").click()
        expect(page.locator(".task").filter(has_text=alices)).to_be_visible()
        page.get_by_role("link", name="Callbacks").click()
        callbacks = page.locator("section").filter(has=page.get_by_role("heading", name="Callbacks"))
        expect(callbacks.get_by_text(alices).first).to_be_visible()
        expect(callbacks.get_by_text(bobs)).to_have_count(0)
        page.goto(f"{url}/docs")
        expect(page.locator("#submitTask")).to_be_visible()


def test_an_api_that_is_away_is_said_in_the_apis_own_shape(shown: Shown, tmp_path: Path) -> None:
    with Stack(shown.stack.deployment, tmp_path) as stack:
        url = start(stack, tmp_path, f"http://127.0.0.1:{free_port()}")
        for path in ("/v1/tasks", "/callbacks/deliveries"):
            answer = httpx.get(f"{url}{path}", timeout=10)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "api_unreachable"), path
