"""`python -m cluster`: the chart on a real Kubernetes with real KEDA."""

from __future__ import annotations

import sys

from cluster.commands import app

if __name__ == "__main__":
    sys.exit(app())
