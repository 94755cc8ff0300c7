"""Progress is shown on a terminal and in a log, for steps within steps too."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cloud.reporter import Reporter


@pytest.mark.parametrize("terminal", [True, False])
def test_steps_within_steps_each_say_how_they_ended(terminal: bool) -> None:
    written = io.StringIO()
    report = Reporter(Console(file=written, force_terminal=terminal, width=100, color_system=None))
    with report.step("outer"):
        report.detail("[bold]as it is[/bold]")
        with report.step("first"):
            report.say("a line")
        with pytest.raises(ValueError, match="second"), report.step("second"):
            raise ValueError("second")
        report.detail("goes on")
    text = written.getvalue()
    for line in (r"✓ first \(\d+\.\d s\)", "a line", r"✗ second \(after \d+\.\d s\)", r"✓ outer \(\d+\.\d s\)"):
        assert re.search(line, text)
    if not terminal:
        assert text.splitlines()[:2] == ["outer …", "  [bold]as it is[/bold]"]
