"""`behind`: lists the pinned versions of which there is a newer one."""

from __future__ import annotations

from cloud.behind import look, pins, table
from cloud.commands.common import DryRunOption, plain_errors
from cloud.deployment.making import CDK
from cloud.reporter import Reporter


def behind(dry_run: DryRunOption = False) -> None:
    """Compare pinned versions with their authors' tags; for Python's packages there is `nox -s lock -- --upgrade`."""
    report = Reporter()
    with plain_errors():
        wanted = pins(CDK)
        if dry_run:
            report.say(f"would ask {', '.join(pin.repository for pin in wanted)} for their tags")
            return
        report.show(table(look(wanted)))
        report.say("raise them in cloud/versions.py, one by one: its comments say what goes with what")
