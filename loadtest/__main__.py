"""`python -m loadtest`: puts load on a stack, judges how it scales, and writes a report."""

from __future__ import annotations

import signal


def main() -> None:
    """Runs the commands."""
    # Until the packages are there, which takes a second or two, nothing has to be cleaned up, and nobody could do it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import locust as _locust  # noqa: F401, PLC0415 - patches the standard library: it comes before all others

    from loadtest.commands import app  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="python -m loadtest")


if __name__ == "__main__":
    main()
