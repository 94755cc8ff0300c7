"""`synth`: writes what a config would deploy, and what its fixed part costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud.commands.common import CONFIG, ConfigOption, DryRunOption, StackOption, loaded, plain_errors, state_folder
from cloud.image_cache.volumes import cache_gib
from cloud.reporter import Reporter
from cloud.synthesis.billed import on_top
from cloud.synthesis.cost import fixed_of, monthly_bill
from cloud.synthesis.write import write_charts, write_templates
from contract.prices import load_prices
from contract.topology import LOCAL_ACCOUNT


def synth(  # noqa: PLR0917 - typer reads options from parameters
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for templates/ and charts/; otherwise .darkroom/synth."),
    ] = None,
    account: Annotated[str, typer.Option("--account", help="To synthesize for.")] = LOCAL_ACCOUNT,
    region: Annotated[str, typer.Option("--region", "-R", envvar="AWS_REGION", help="The same.")] = "us-west-2",
    config: ConfigOption = CONFIG,
    stack: StackOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Write templates and rendered charts into a folder, and show what the fixed part costs; asks nobody."""
    report = Reporter()
    with plain_errors():
        settings = loaded(config, stack)
        folder = output or state_folder() / "synth"
        templates_folder, charts_folder = folder / "templates", folder / "charts"
        if dry_run:
            names = ", ".join(runtime.name for runtime in settings.runtimes)
            report.say(f"would write templates to {templates_folder}, and the charts of {names} to {charts_folder}")
            return
        with report.step("synthesizing"):
            templates = write_templates(settings, templates_folder, account=account, region=region)
        with report.step("rendering the charts"):
            charts = write_charts(templates.values(), charts_folder)
        for path in [*(templates_folder / f"{name}.template.json" for name in templates), *charts]:
            report.say(str(path))
        prices = load_prices()
        report.show(monthly_bill(fixed_of(templates.values(), snapshot_gib=cache_gib(settings)), prices))
        report.say(f"prices of {prices.region}, {prices.as_of}; on top come, by use:")
        for what in on_top(templates.values()):
            report.say(f"  {what}")
