"""`python -m tests.bench.as_in_image agent`: runs the agent as its image does, without what only others here install.

Libraries take these packages up where they find them (structlog rich and greenlet, aiobotocore httpx), and each costs
memory.
"""

from __future__ import annotations

import runpy
import sys
from typing import Final

NOT_IN_THE_IMAGE: Final = ("rich", "httpx", "greenlet")


def main() -> None:
    module = sys.argv[1]
    for name in NOT_IN_THE_IMAGE:
        sys.modules[name] = None  # type: ignore[assignment] # an import of it now fails as if it were not there
    sys.argv[1:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
