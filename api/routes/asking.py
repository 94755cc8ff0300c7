"""What every route about tasks that are there does: find out which task of which tenant is meant."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from api.errors import ApiError
from api.middleware import request_state
from contract.identifiers import TaskRef

TENANT: Final = "tenant"
"""The query parameter by which an admin names a tenant; empty: the shared space."""


def task_of(request: Request, task_id: str) -> TaskRef:
    """Returns which task a request is about: the caller's own, or an admin's choice.

    Raises:
        ApiError: 403, a caller who is no admin names a tenant. It is refused whether there is such a task or not.
    """
    request_state(request.scope).task_id = task_id
    return TaskRef(task_id, tenant_of(request))


def tenant_of(request: Request) -> str:
    """Returns whose tasks a request is about: the caller's own, or an admin's choice.

    Raises:
        ApiError: 403, a caller who is no admin names a tenant.
    """
    state = request_state(request.scope)
    tenant = request.query_params.get(TENANT)
    if tenant is None or tenant == state.caller.tenant:
        return state.caller.tenant
    if not state.caller.admin:
        raise ApiError(403, "forbidden", f"only an admin's API key may name a tenant; leave {TENANT} out")
    state.tenant = tenant
    return tenant
