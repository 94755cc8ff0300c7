"""`python -m loadtest`: puts load on a stack, judges how it scales, and writes a report."""

from __future__ import annotations

import locust as _locust  # noqa: F401

from loadtest.commands import app

if __name__ == "__main__":
    app(prog_name="python -m loadtest")
