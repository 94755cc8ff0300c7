"""`smoke`: verifies a running deployment with the reference's own requests."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from cloud.aws import Aws, ToolError
from cloud.commands.common import FAILED, EndpointOption, RegionOption, fail, plain_errors
from cloud.outputs import api_key, output_of, stack_outputs
from cloud.reporter import Reporter
from cloud.smoke.api import Api
from cloud.smoke.journeys import SAMPLE_IMAGE, Journey, Runtime, plan_journeys, runtimes_of
from cloud.smoke.run import run_smoke, show

_TIMEOUT: Final = 900.0
"""Seconds: a spot node that starts and pulls its images takes several minutes."""


def smoke(  # noqa: PLR0917 - typer reads options from parameters
    stack: Annotated[
        str | None, typer.Option("--stack", "-n", "--stack-name", help="Find address and key in this stack's outputs.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="The API's address, instead of a stack.")] = None,
    key: Annotated[
        str, typer.Option("--api-key", envvar="DARKROOM_API_KEY", help="With --url: its x-api-key.", show_envvar=True)
    ] = "",
    runtime: Annotated[list[str] | None, typer.Option("--runtime", "-r", help="Only this one; repeatable.")] = None,
    runtime_type: Annotated[
        str | None, typer.Option("--runtime-type", "-t", help="Only runtimes of this type.")
    ] = None,
    input_image: Annotated[
        str, typer.Option("--input-image", help="A link, or a file (sent inline), for requests that take a picture.")
    ] = SAMPLE_IMAGE,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the images.")] = Path("images"),
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for all images.")] = _TIMEOUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-d", help="Only say what would be sent.")] = False,
    region: RegionOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Send the reference's requests to a deployment, wait for the images, save and show them."""
    if (stack is None) == (url is None):
        fail("give either --stack NAME or --url http://…")
    report = Reporter()
    with plain_errors():
        if stack is not None:
            url, key = find_api(Aws(region, endpoint_url), stack)
        with Api(url or "", key) as api:
            verify(
                api,
                report,
                runtimes=runtime,
                runtime_type=runtime_type,
                input_image=_picture(input_image),
                folder=output,
                within=timeout,
                dry_run=dry_run,
            )


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
    within: float = _TIMEOUT,
    dry_run: bool = False,
) -> None:
    """Sends the requests for the chosen runtimes, and ends the command with status 1 when not all images came.

    Raises:
        ToolError: the API is out of reach, or there is nothing to send.
    """
    chosen = _choose(runtimes_of(api.runtimes()), runtimes, runtime_type)
    journeys = plan_journeys(chosen, run=secrets.token_hex(3), input_image=input_image)
    _explain_unsent(chosen, journeys, report)
    if dry_run:
        for journey in journeys:
            report.say(f"would send {journey.title} as {journey.task_id} to {api.url}{journey.route}")
        return
    results = run_smoke(api, journeys, folder=folder, within=within, report=report)
    show(results, report)
    if not all(result.passed for result in results):
        fail("the smoke test failed", FAILED)
    report.say(f"the smoke test passed: {len(results)} requests, images in {folder}")


def _choose(found: list[Runtime], names: list[str] | None, kind: str | None) -> list[Runtime]:
    known = ", ".join(f"{item.name} ({item.type})" for item in found)
    for name in names or []:
        if name not in {item.name for item in found}:
            raise ToolError(f"there is no runtime {name!r} here; there are {known}")
    chosen = [item for item in found if (not names or item.name in names) and kind in {None, item.type}]
    if not chosen:
        raise ToolError(f"there is no runtime of type {kind!r} here; there are {known}")
    return chosen


def _explain_unsent(runtimes: list[Runtime], journeys: list[Journey], report: Reporter) -> None:
    for runtime in runtimes:
        if not any(journey.title.startswith(f"{runtime.name}: ") for journey in journeys):
            report.say(f"nothing to send to {runtime.name}: the reference has no request for type {runtime.type}")
    if not journeys:
        raise ToolError("there is nothing to send")


def _picture(value: str) -> str:
    """Returns a link as it is, and a file as base64.

    Raises:
        ToolError: the file cannot be read.
    """
    if value.startswith(("http://", "https://", "s3://")):
        return value
    try:
        return base64.b64encode(Path(value).read_bytes()).decode()
    except OSError as error:
        raise ToolError(f"--input-image {value}: cannot be read: {error.strerror}") from error
