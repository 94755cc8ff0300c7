"""Debian's Chromium, driven by Playwright, and a stack for the console to show."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.deployment import deploy
from tests.support.stack import Pod, Stack

expect.set_options(timeout=15_000)  # the machine may be busy

CONFIG = """\
stackName: {stack}
modelBucketArn: arn:aws:s3:::{stack}-models
APIGW: {{throttle: {{rateLimit: 1000, burstLimit: 1000}}}}
modelsRuntime:
- {{name: sdruntime, type: sdwebui, dynamicModel: true}}
- {{name: comfyruntime, type: comfyui}}
- {{name: drawingruntime, type: comfyui}}
"""

WINDOW: Any = {"width": 1280, "height": 800}


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium here: `apt-get install chromium` brings it")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium,
            # Root has no sandbox in a container; nothing but our own page is opened.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield found
        found.close()


@dataclass(frozen=True)
class Shown:
    """The stack that the console shows."""

    stack: Stack
    pod: Pod
    """Of sdruntime."""
    drawing: Pod
    """Of drawingruntime, a ComfyUI; it may not be ready yet."""


@pytest.fixture(scope="module")
def shown(chromium: str, localstack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """An API, and pods of two runtimes: the tasks of comfyruntime wait."""
    with Stack(deploy(localstack, config=CONFIG), tmp_path_factory.mktemp("console")) as stack:
        stack.start_api()
        drawing = stack.start_pod("drawingruntime", ready=False)
        pod = stack.start_pod("sdruntime", RUNTIME_FAKE="true", STATUS_INTERVAL_SECONDS=1, GPU_HOUR_USD="3600")
        yield Shown(stack, pod, drawing)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page in a window of its own (`of` another: in a tab beside it); whatever the page complains of fails."""
    contexts = []
    complaints: list[str] = []

    def opened(url: str, *, of: Page | None = None, **options: Any) -> Page:
        context = of.context if of else browser.new_context(**{"viewport": WINDOW, **options})
        if of is None:
            contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
