"""What every route about tasks that are there does: find out which task of which tenant is meant."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from api.cors import allowed_origins
from api.errors import ApiError, InvalidRequestError
from api.middleware import request_state
from api.services import services_of
from contract.identifiers import TaskRef, check_tenant_if_any
from contract.origins import ANY

TENANT: Final = "tenant"
"""The query parameter by which an admin names a tenant; empty: the shared space."""


def refuse_foreign_page(request: Request) -> None:
    """Refuses what a page of another site sends without asking first: a request without a body, where no key is asked.

    A body in JSON, or a key in a header, makes the browser ask (Fetch standard, "CORS-preflight fetch").

    Raises:
        ApiError: 403.
    """
    origin = request.headers.get("origin")
    front = services_of(request).front
    if origin is None or not front.callers.open or _is_own(request, origin):
        return
    if not {origin, ANY} & {*allowed_origins(front.settings, front.config)}:
        raise ApiError(
            403, "cors_refused", f"not allowed for a page of {origin[:200]}: CORS_ALLOWED_ORIGINS names the origins"
        )


def _is_own(request: Request, origin: str) -> bool:
    """Tells whether a page of ours has sent a request; a proxy in front may have given it another `Host`."""
    site = request.headers.get("sec-fetch-site")  # Fetch Metadata; browsers send it to https and to this machine
    return site in {"same-origin", "none"} if site else origin.partition("://")[2] == request.headers.get("host")


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


def checked_tenant_of(request: Request) -> str:
    """Returns whose tasks a request is about, where there is no single one that is found or not.

    Raises:
        ApiError: as `tenant_of`; 400, no tenant can be called so.
    """
    try:
        return check_tenant_if_any(tenant_of(request))
    except ValueError as error:
        raise InvalidRequestError(TENANT, str(error)) from error
