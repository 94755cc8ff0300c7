"""`python -m loadtest.planner`: what a load would wait and cost under the scaling settings of config.yaml."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from contract.config import ConfigError, load_config
from contract.fixed_cost import fixed_of
from contract.prices import DEFAULT_TABLE, Capacity, PricesError, load_prices
from contract.scaling.settings import Scaling, ScalingError, scaling_by_runtime
from loadtest.planner import arrivals as loads
from loadtest.planner import report
from loadtest.planner.asking import Delivery
from loadtest.planner.costs import monthly_bill
from loadtest.planner.model import IMAGE_SECONDS, ImageCache, Nodes, Run, Work
from loadtest.planner.simulation import simulate
from loadtest.planner.sweep import ChoiceError, agent_setting, changed, parse_change, parse_sweep
from loadtest.shapes import ReplayError

_USAGE = 2
_NODES, _WORK = Nodes(), Work()
_REFERENCE_PER_DAY = 1_000_000 / 30
_FORMATS = (".png", ".svg")


def plan(  # noqa: PLR0917 - typer reads options from parameters
    arrivals: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a column `time` (seconds, or ISO 8601), perhaps `runtime` and `tenant`; else a daily curve."
        ),
    ] = None,
    images_per_day: Annotated[
        float, typer.Option(min=1, help="Without --arrivals: tasks a day; a million in 30 days if not said.")
    ] = _REFERENCE_PER_DAY,
    noon_to_night: Annotated[
        float, typer.Option(min=1, help="Without --arrivals: rate at 14:00 over rate at 2:00; 1 is flat.")
    ] = 10.0,
    days: Annotated[int, typer.Option(min=1, max=31, help="Without --arrivals: days to simulate.")] = 1,
    tenants: Annotated[
        int,
        typer.Option(min=0, max=1000, help="So many share the load evenly; 0: it has none, or the file names them."),
    ] = 0,
    flood: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Tasks that one tenant more sends at once, in the middle.")
    ] = 0,
    seconds_per_image: Annotated[float, typer.Option(min=0.001, help="GPU seconds of a task.")] = _WORK.seconds,
    seconds_spread: Annotated[float, typer.Option(min=0, help="Their coefficient of variation.")] = _WORK.spread,
    gap_seconds: Annotated[
        float,
        typer.Option(min=0, help="Between two runs on a GPU: the runtime encodes its answer; slots hide it."),
    ] = _WORK.gap,
    slots: Annotated[
        int | None, typer.Option(min=1, max=4, help="Runs that an agent has at its runtime; config.yaml's if not said.")
    ] = None,
    lead_seconds: Annotated[
        float, typer.Option(min=0, help="How long before a run's end an agent asks for what it holds ahead.")
    ] = _WORK.lead,
    config: Annotated[Path, typer.Option(envvar="CONFIG_FILE", help="The deployment.")] = Path("config.yaml"),
    runtime: Annotated[str, typer.Option(help="Whose scaling settings; the first runtime's if not said.")] = "",
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another scaling setting; repeatable.")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="A setting's values to compare: queueLength=1:20, =5:50:5 or =1,5,10.")
    ] = None,
    delivery: Annotated[
        Delivery, typer.Option(help="Who gets a message: the agent that has asked longest, or any that asks.")
    ] = Delivery.OLDEST,
    instance: Annotated[str, typer.Option(help="Type of the GPU nodes, one GPU each.")] = _NODES.instance,
    capacity: Annotated[Capacity, typer.Option(help="How they are paid for.")] = _NODES.capacity,
    interruptions_per_hour: Annotated[
        float, typer.Option(min=0, help="Of each Spot node.")
    ] = _NODES.interruptions_per_hour,
    image_cache: Annotated[ImageCache, typer.Option(help="How a node gets its images.")] = ImageCache.SNAPSHOT,
    image_seconds: Annotated[
        float | None, typer.Option(min=0, help="How long that takes; by its kind if not said.")
    ] = None,
    node_seconds: Annotated[float, typer.Option(min=0, help="Start of a node.")] = _NODES.node_seconds,
    start_seconds: Annotated[float, typer.Option(min=0, help="Start of the runtime's process.")] = _NODES.start_seconds,
    model_seconds: Annotated[float, typer.Option(min=0, help="Load of the model.")] = _NODES.model_seconds,
    spread: Annotated[float, typer.Option(min=0, help="Coefficient of variation of these times.")] = _NODES.spread,
    consolidate_after: Annotated[
        float, typer.Option(min=0, help="Seconds that an empty node is kept.")
    ] = _NODES.consolidate_after,
    grace_seconds: Annotated[float, typer.Option(min=0, help="The agent's grace period.")] = _WORK.grace_seconds,
    prices: Annotated[Path, typer.Option(help="Another price table.")] = DEFAULT_TABLE,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all of it as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png or .svg.")] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Show the reference design's published bill first.")
    ] = False,
) -> None:
    """Predict waiting, GPU use and the monthly bill of a load."""
    console = Console()
    if plot is not None and plot.suffix not in _FORMATS:
        _fail(f"--plot {plot}: the name must end in {' or '.join(_FORMATS)}")
    try:
        deployment = load_config(config)
        name, scaling = _settings(scaling_by_runtime(deployment), runtime)
        scaling = changed(scaling, [parse_change(text) for text in change or []])
        swept, values = parse_sweep(sweep) if sweep is not None else ("", [])
        choices = [(value, changed(scaling, [(swept, value)])) for value in values] or [(0, scaling)]
        table = load_prices(prices)
        load = _load(
            loads.from_csv(arrivals, name)
            if arrivals is not None
            else loads.daily(images_per_day, days, noon_to_night),
            tenants,
            flood,
        )
        run = Run(
            work=Work(
                seconds=seconds_per_image,
                spread=seconds_spread,
                gap=gap_seconds,
                slots=agent_setting(deployment, name, "slots", _WORK.slots) if slots is None else slots,
                prefetch=agent_setting(deployment, name, "prefetch", _WORK.prefetch),
                lead=lead_seconds,
                grace_seconds=grace_seconds,
            ),
            nodes=Nodes(
                instance=instance,
                capacity=capacity,
                node_seconds=node_seconds,
                image_seconds=IMAGE_SECONDS[image_cache] if image_seconds is None else image_seconds,
                start_seconds=start_seconds,
                model_seconds=model_seconds,
                spread=spread,
                consolidate_after=consolidate_after,
                interruptions_per_hour=interruptions_per_hour,
            ),
            delivery=delivery,
            fair=isinstance(load, loads.Shared) or (isinstance(load, loads.Recorded) and load.tenants),
            seed=seed,
        )
        table.instance_hour(instance, capacity)  # before anybody waits for a simulation
        fixed = fixed_of(deployment)
        if image_cache is not ImageCache.SNAPSHOT:
            fixed = replace(fixed, snapshot_gib=0)
        plans = []
        for value, settings in choices:
            with console.status(f"simulating {swept + f' = {value}' if swept else name} …"):
                outcome = simulate(load, settings, run)
                not_fair = simulate(load, settings, replace(run, fair=False)) if run.fair else None
            bill = monthly_bill(outcome, settings, run, table, fixed)
            plans.append((value, report.Plan(name, settings, run, outcome, bill, not_fair)))
    except (ConfigError, ScalingError, ChoiceError, PricesError, ReplayError) as error:
        _fail(str(error))
    if reference:
        report.show_reference(console)
    if swept:
        report.show_sweep(console, swept, plans)
    else:
        report.show(console, plans[0][1], table)
    _write(json_file, [{"value": value, **report.as_json(item, table)} for value, item in plans], swept, console)
    if plot is not None:
        _draw(plot, swept, plans)
        console.print(f"drawn: {plot}")


def _load(load: loads.Recorded | loads.Random, tenants: int, flood: int) -> loads.Arrivals:
    if flood and not tenants:
        raise ChoiceError("--flood: needs --tenants, so many as share the rest of the load")
    return loads.Shared(load, tenants, flood) if tenants else load


def _settings(known: dict[str, Scaling], runtime: str) -> tuple[str, Scaling]:
    name = runtime or next(iter(known))
    if name not in known:
        raise ChoiceError(f"--runtime {name}: config.yaml has {', '.join(known)}")
    return name, known[name]


def _write(path: Path | None, plans: list[dict[str, Any]], swept: str, console: Console) -> None:
    if path is None:
        return
    document = {"sweep": swept, "plans": plans} if swept else plans[0]
    try:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        _fail(f"--json {path}: cannot be written: {error.strerror}")
    console.print(f"written: {path}")


def _draw(path: Path, swept: str, plans: list[tuple[int, report.Plan]]) -> None:
    from loadtest.planner.plot import draw_plan, draw_sweep  # noqa: PLC0415 - a second to import

    try:
        if swept:
            draw_sweep(swept, plans, path)
        else:
            draw_plan(plans[0][1], path)
    except OSError as error:
        _fail(f"--plot {path}: cannot be written: {error.strerror}")


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(_USAGE)


def main() -> None:
    """Runs the command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(plan)
    app(prog_name="python -m loadtest.planner")


if __name__ == "__main__":
    main()
