"""`python -m local`: starts the service without Docker, and talks to it from a terminal."""

from __future__ import annotations

import sys

from local.commands import app

if __name__ == "__main__":
    sys.exit(app())
