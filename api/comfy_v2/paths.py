"""Where v2 lies: `/api/v2`, and below a runtime's own address, as Comfy's deployments have theirs.

A client that is given `http://host/deployment/NAME` as its base address asks for `/deployment/NAME/api/v2/…`, and gets
links that begin so (`JobUrls` in `comfy-sdk` 0.5.0): by that, a workflow goes to the runtime of this name.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

BASE: Final = "/api/v2"
DEPLOYMENT: Final = "/deployment/{deployment}"

_OURS: Final = re.compile(r"(?:/deployment/[^/]+)?/api/v2/")


def is_ours(path: str) -> bool:
    """Tells whether a path, without the gateway's prefix, is one of v2's."""
    return _OURS.match(path) is not None


def job_urls(root_path: str, deployment: str | None, job_id: str) -> dict[str, str]:
    """Returns where to go on with a job.

    Args:
        root_path: the gateway's prefix, or nothing.
        deployment: the runtime by whose address the client came; None: by none.
        job_id: the job's.
    """
    mount = f"/deployment/{quote(deployment, safe='')}" if deployment is not None else ""
    here = f"{root_path}{mount}{BASE}/jobs/{quote(job_id, safe='')}"
    return {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"}
