"""`smoke`: verifies a running deployment with the reference's own requests."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

import typer

from cloud.aws import Aws, ToolError
from cloud.commands.common import FAILED, EndpointOption, RegionOption, fail, plain_errors
from cloud.reporter import Reporter
from cloud.smoke.api import Api
from cloud.smoke.journeys import SAMPLE_IMAGE
from cloud.smoke.verify import TIMEOUT, find_api, verify


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
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for all images.")] = TIMEOUT,
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
            passed = verify(
                api,
                report,
                runtimes=runtime,
                runtime_type=runtime_type,
                input_image=_picture(input_image),
                folder=output,
                within=timeout,
                dry_run=dry_run,
            )
    if not passed:
        fail("the smoke test failed", FAILED)


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
