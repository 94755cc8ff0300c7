"""Tells where to go on with a task."""

from __future__ import annotations

from urllib.parse import quote


def task_links(root_path: str, task_id: str, *, tenant: str | None = None) -> dict[str, str]:
    """Returns where to go on with a task.

    Args:
        root_path: the gateway's prefix, or nothing.
        task_id: the task's.
        tenant: whose it is, where an admin looks at another tenant's; None: the caller's own.
    """
    here = f"{root_path}/v1/tasks/{quote(task_id, safe='')}"
    of = "" if tenant is None else f"?tenant={quote(tenant, safe='')}"
    return {"self": f"{here}{of}", "events": f"{here}/events{of}"}
