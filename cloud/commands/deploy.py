"""`deploy`: from nothing to the first image, under the option names of the reference's script."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud.aws import Aws
from cloud.commands.common import (
    CONFIG,
    USAGE,
    ConfigOption,
    EndpointOption,
    RegionOption,
    fail,
    plain_errors,
    state_folder,
)
from cloud.deployment.pipeline import steps
from cloud.deployment.settings import Wishes, resolve, write
from cloud.deployment.steps import Work, carry_out, rehearse
from cloud.reporter import Reporter
from cloud.smoke.journeys import SAMPLE_IMAGE
from contract.config import load_config
from contract.task import RuntimeType


def deploy(  # noqa: PLR0917 - typer reads options from parameters
    stack_name: Annotated[str, typer.Option("-n", "--stack-name", "--stack", help="Otherwise the config's.")] = "",
    region: RegionOption = None,
    dry_run: Annotated[
        bool, typer.Option("-d", "--dry-run", help="Only check, write the resolved config, and say what would be done.")
    ] = False,
    bucket: Annotated[
        str,
        typer.Option("-b", "--bucket", help="Existing bucket with the models; otherwise the config's, made if new."),
    ] = "",
    snapshot: Annotated[
        str, typer.Option("-s", "--snapshot", help="Existing EBS snapshot with the images; otherwise one is made.")
    ] = "",
    runtime_name: Annotated[
        str, typer.Option("-r", "--runtime-name", help="Deploy one runtime, of this name, instead of the config's.")
    ] = "",
    runtime_type: Annotated[
        RuntimeType | None, typer.Option("-t", "--runtime-type", help="Deploy one runtime, of this type.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            help="Network that may reach the cluster's Kubernetes API, such as 203.0.113.0/24; may be repeated. "
            "Otherwise the config's, or this machine alone.",
        ),
    ] = None,
    skip_tools: Annotated[bool, typer.Option("-T", "--skip-tools", help="Do not look for tools.")] = False,
    without_models: Annotated[
        bool, typer.Option("--without-models", help="Go on where the model bucket lacks models that the config names.")
    ] = False,
    fetch_models: Annotated[
        bool,
        typer.Option(
            "--fetch-models",
            help="Fetch models that the bucket lacks from where cloud.modelSources says, and agree to their licenses.",
        ),
    ] = False,
    no_image_cache: Annotated[
        bool, typer.Option("--no-image-cache", help="Make no snapshot of the images; nodes pull them.")
    ] = False,
    input_image: Annotated[
        str, typer.Option("--input-image", help="Link for the smoke test's requests that take a picture.")
    ] = SAMPLE_IMAGE,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Folder of the state and the resolved config; otherwise .darkroom/deploy."),
    ] = None,
    config: ConfigOption = CONFIG,
    endpoint_url: EndpointOption = None,
) -> None:
    """Take the images of this folder to EKS; run again after a failure, it goes on where it stopped."""
    report = Reporter()
    with plain_errors():
        aws = Aws(region, endpoint_url)
        settings = resolve(
            load_config(config),
            Wishes(
                stack_name,
                bucket,
                snapshot,
                runtime_name,
                runtime_type.value if runtime_type else "",
                tuple(allow or ()),
            ),
            region=aws.region,
        )
        work = Work(
            aws=aws,
            config=settings,
            report=report,
            folder=(state or state_folder() / "deploy") / f"{settings.stack_name}-{aws.region}",
            chosen_bucket=bool(bucket),
            skip_tools=skip_tools,
            without_models=without_models,
            fetch_models=fetch_models,
            without_cache=no_image_cache,
        )
        todo = steps(input_image)
        if dry_run:
            faults = rehearse(todo, work)
            write(work.config_file, work.config)
            report.say(f"the resolved config is {work.config_file}; edit it, and deploy it with --config")
            if faults:
                fail(
                    f"{len(faults)} fault{'s' if len(faults) > 1 else ''} would stop the deployment; nothing was made",
                    USAGE,
                )
            return
        carry_out(todo, work)
        for name, value in work.outputs.items():
            report.say(f"{name} = {value}")
        report.say(f"deployed; the resolved config is {work.config_file}")
