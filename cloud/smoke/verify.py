"""Verifies a deployment: finds its API, chooses runtimes, sends the reference's requests, and judges what came."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from cloud.aws import Aws, ToolError
from cloud.outputs import api_key, output_of, stack_outputs
from cloud.reporter import Reporter
from cloud.smoke.api import Api
from cloud.smoke.journeys import SAMPLE_IMAGE, Runtime, plan_journeys, runtimes_of
from cloud.smoke.run import run_smoke, show

TIMEOUT: Final = 900.0
"""Seconds: a spot node that starts and pulls its images takes several minutes."""


def find_api(aws: Aws, stack: str) -> tuple[str, str]:
    """Returns address and key of a stack's API.

    Raises:
        ToolError: there is no such stack, or it lacks an output.
    """
    outputs = stack_outputs(aws, stack)
    return output_of(outputs, "FrontApiEndpoint", stack), api_key(aws, outputs, stack)


def verify(
    api: Api,
    report: Reporter,
    *,
    runtimes: list[str] | None = None,
    runtime_type: str | None = None,
    input_image: str = SAMPLE_IMAGE,
    folder: Path = Path("images"),
    within: float = TIMEOUT,
    dry_run: bool = False,
) -> bool:
    """Sends the requests for the chosen runtimes, and returns whether all images came; of a dry run, True.

    Raises:
        ToolError: the API is out of reach, or there is nothing to send.
    """
    chosen = _choose(runtimes_of(api.runtimes()), runtimes, runtime_type)
    journeys = plan_journeys(chosen, run=secrets.token_hex(3), input_image=input_image)
    if not journeys:
        raise ToolError(f"there is nothing to send to {', '.join(runtime.name for runtime in chosen)}")
    if dry_run:
        for journey in journeys:
            report.say(f"would send {journey.title} as {journey.task_id} to {api.url}{journey.route}")
        return True
    results = run_smoke(api, journeys, folder=folder, within=within, report=report)
    show(results, report)
    if not all(result.passed for result in results):
        return False
    report.say(f"the smoke test passed: {len(results)} requests, images in {folder}")
    return True


def _choose(found: list[Runtime], names: list[str] | None, kind: str | None) -> list[Runtime]:
    known = ", ".join(f"{item.name} ({item.type})" for item in found)
    for name in names or []:
        if name not in {item.name for item in found}:
            raise ToolError(f"there is no runtime {name!r} here; there are {known}")
    chosen = [item for item in found if (not names or item.name in names) and kind in {None, item.type}]
    if not chosen:
        raise ToolError(f"there is no runtime of type {kind!r} here; there are {known}")
    return chosen
