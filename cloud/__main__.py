"""`python -m cloud`: takes the containers of the local stack to EKS, and runs them there."""

from __future__ import annotations

import sys

from cloud.commands import app

if __name__ == "__main__":
    sys.exit(app())
