"""The routes of v2: jobs and assets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.auth import Caller
from api.aws import Aws
from api.body import parse_json
from api.comfy_v2.assets import Assets, checked_hash, unknown_asset
from api.comfy_v2.errors import Endpoint, speaking
from api.comfy_v2.events import job_events
from api.comfy_v2.jobs import job_of, summary_of
from api.comfy_v2.labels import has_all, labels_of, parse_filters
from api.comfy_v2.outputs import Outputs
from api.comfy_v2.paths import BASE, DEPLOYMENT, job_urls
from api.comfy_v2.submitting import runtime_for, understood
from api.errors import ApiError, InvalidRequestError
from api.idempotency import check_key
from api.lists import parse_query
from api.middleware import request_state
from api.routes.accepting import accept_read
from api.routes.asking import refuse_foreign_page
from api.routes.events import EVENT_STREAM, stream_answer
from api.services import Services, services_of
from api.submit import Accepted
from contract.identifiers import TaskRef
from contract.links import Links
from contract.objects import s3_url
from contract.record import Record, Submission

DIALECT: Final = "comfy-v2"
_NO_STORE: Final = {"cache-control": "no-store"}
_LISTED: Final = ("limit", "cursor")


@dataclass(frozen=True, slots=True)
class Comfy:
    """What v2's routes use besides the services of all."""

    assets: Assets
    outputs: Outputs


def make_comfy(services: Services, aws: Aws) -> Comfy:
    """Makes what v2's routes use; the application has it as `state.comfy`."""
    settings = services.front.settings
    seconds = settings.presigned_seconds
    links = Links(aws.signer, cdn_base_url=settings.cdn_base_url, seconds=seconds)
    bucket = settings.s3_bucket
    return Comfy(
        assets=Assets(s3=aws.s3, signer=aws.signer, bucket=bucket, uploads=services.uploads, link_seconds=seconds),
        outputs=Outputs(s3=aws.s3, bucket=bucket, links=links, tasks=services.tasks, link_seconds=seconds),
    )


async def submit(request: Request) -> Response:
    """Accepts a job; the same Idempotency-Key makes it happen once, and is answered again."""
    key = request.headers.get("idempotency-key")
    if key is not None:
        check_key(key)
    understand = partial(
        understood, deployment=_deployment(request), config=services_of(request).front.config, find=_finder(request)
    )
    accepted = await accept_read(request, understand, dialect=DIALECT, idempotency_key=key)
    return await _answer(request, await _accepted(request, accepted), status=201)


async def list_jobs(request: Request) -> Response:
    """Lists the caller's jobs, the newest first; at a runtime's own address, those of this runtime."""
    filters = parse_filters(request.query_params.multi_items())
    wanted = {name: value for name, value in request.query_params.items() if not name.startswith("metadata[")}
    for name in wanted:
        if name not in _LISTED:
            raise InvalidRequestError(
                name[:80], f"unknown parameter; there are {', '.join(_LISTED)} and metadata[name]"
            )
    services, deployment = services_of(request), _deployment(request)
    if deployment is not None:
        wanted["runtime"] = runtime_for(deployment, services.front.config).name
    try:
        query = parse_query(wanted)
    except InvalidRequestError as error:
        raise ApiError(400, "invalid_cursor" if "cursor" in error.message else error.code, error.message) from error
    page = await services.lists.page(_caller(request).tenant, query)
    jobs = [summary_of(record) for record in page.records if has_all(labels_of(record.current.context), filters)]
    return json_answer({"jobs": jobs, "next_cursor": page.cursor.encode() if page.cursor else None}, headers=_NO_STORE)


async def show(request: Request) -> Response:
    """Tells how a job stands, with its outputs."""
    return await _answer(request, await services_of(request).tasks.read(_task(request)))


async def workflow(request: Request) -> Response:
    """Shows the workflow that a job ran, with the addresses of its assets in their places."""
    services = services_of(request)
    record = await services.tasks.read(_task(request))
    content = (await services.kept_requests.of(record)).content
    graph = content["prompt"] if isinstance(content.get("prompt"), dict) else content
    return json_answer({"workflow": graph, "format": "api"}, headers=_NO_STORE)


async def cancel(request: Request) -> Response:
    """Asks a job to stop; one that has ended stays as it is."""
    refuse_foreign_page(request)
    services, task = services_of(request), _task(request)
    try:
        record = (await services.tasks.cancel(task)).record
    except ApiError as error:
        if error.code != "already_ended":
            raise
        record = await services.tasks.read(task)
    else:
        services.feeds.note(task)
    return await _answer(request, record)


async def events(request: Request) -> Response:
    """Tells each change of a job until it has ended."""
    services = services_of(request)
    record = await services.tasks.read(_task(request))
    if request.method == "HEAD":
        return Response(media_type=EVENT_STREAM)
    coming = job_events(services.tasks, _comfy(request).outputs, record, services.front.stopping)
    return stream_answer(request, coming)


async def upload(request: Request) -> Response:
    """Stores a file: 201 when its content is new to the caller's tenant, 200 when it was there."""
    # A page of another site can send a form without asking first.
    refuse_foreign_page(request)
    assets = _comfy(request).assets
    asset, is_new = await assets.store(request, _caller(request))
    view = await assets.view(asset, created_new=is_new)
    return json_answer(view, status=201 if is_new else 200, headers=_NO_STORE)


async def from_hash(request: Request) -> Response:
    """Returns the asset of a content that is there already."""
    services, caller, assets = services_of(request), _caller(request), _comfy(request).assets
    body, room = await services.front.intake.read(request, caller.name)
    try:
        document = parse_json(body)
    finally:
        if room is not None:
            await room.aclose()
    asset = await assets.by_hash(
        caller.tenant, checked_hash(document.get("hash") if isinstance(document, dict) else None)
    )
    if asset is None:
        raise ApiError(404, "blob_not_found", "there is no such content; upload it")
    return json_answer(await assets.view(asset, created_new=False), headers=_NO_STORE)


async def by_hash(request: Request) -> Response:
    """Tells by its status whether a content is there already."""
    found = await _comfy(request).assets.by_hash(_caller(request).tenant, checked_hash(request.path_params["hash"]))
    return Response(status_code=200 if found is not None else 404, headers=_NO_STORE)


async def show_asset(request: Request) -> Response:
    """Tells what is known of an asset, be it uploaded or a job's output."""
    comfy, tenant, wanted = _comfy(request), _caller(request).tenant, request.path_params["asset_id"]
    if (asset := await comfy.assets.get(tenant, wanted)) is not None:
        return json_answer(await comfy.assets.view(asset), headers=_NO_STORE)
    if (output := await comfy.outputs.find(tenant, wanted)) is not None:
        return json_answer(await comfy.outputs.view(output), headers=_NO_STORE)
    raise unknown_asset(wanted)


async def content(request: Request) -> Response:
    """Sends the client to where an asset's bytes lie, by a link that works without a key for a while."""
    comfy, tenant, wanted = _comfy(request), _caller(request).tenant, request.path_params["asset_id"]
    if (asset := await comfy.assets.get(tenant, wanted)) is not None:
        link = await comfy.assets.link(asset)
    elif (output := await comfy.outputs.find(tenant, wanted)) is not None:
        link = await comfy.outputs.link(output)
    else:
        raise unknown_asset(wanted)
    return Response(status_code=302, headers={"location": link, **_NO_STORE})


async def delete_asset(request: Request) -> Response:
    """Deletes an uploaded asset; outputs go with their jobs."""
    comfy, tenant, wanted = _comfy(request), _caller(request).tenant, request.path_params["asset_id"]
    if await comfy.assets.get(tenant, wanted) is None and await comfy.outputs.find(tenant, wanted) is not None:
        raise ApiError(403, "forbidden", "an output goes with its job, and cannot be deleted by itself")
    await comfy.assets.delete(tenant, wanted)
    return Response(status_code=204)


def _comfy(request: Request) -> Comfy:
    return cast("Comfy", request.app.state.comfy)


def _caller(request: Request) -> Caller:
    return request_state(request.scope).caller


def _task(request: Request) -> TaskRef:
    state = request_state(request.scope)
    state.task_id = request.path_params["job_id"]
    return TaskRef(state.task_id or "", state.caller.tenant)


def _deployment(request: Request) -> str | None:
    name: str | None = request.path_params.get("deployment")
    return name


def _finder(request: Request) -> Any:
    """Returns what finds the address of one of the caller's assets."""
    comfy, tenant = _comfy(request), _caller(request).tenant
    bucket = services_of(request).front.settings.s3_bucket

    async def find(wanted: str) -> str | None:
        if (asset := await comfy.assets.get(tenant, wanted)) is not None:
            return s3_url(bucket, asset.key)
        output = await comfy.outputs.find(tenant, wanted)
        return output.address if output is not None else None

    return find


async def _accepted(request: Request, accepted: Accepted) -> Record:
    """Returns how an accepted task stands: a repeated submission is answered with what has become of it."""
    ticket, task = accepted.ticket, accepted.request
    try:
        return await services_of(request).tasks.read(ticket.task)
    except ApiError:
        # It is accepted, whether its record can be read just now or not.
        queued = Submission(
            submission=ticket.submission,
            runtime=task.runtime.name,
            tasktype=task.task_type,
            prefix=task.prefix,
            context=task.context,
            submitted_at=ticket.submitted_at,
        )
        return Record(id=ticket.task.id, tenant=ticket.task.tenant, current=queued)


async def _answer(request: Request, record: Record, *, status: int = 200) -> Response:
    root = services_of(request).front.settings.root_path
    urls = job_urls(root, _deployment(request), record.id)
    outputs = await _comfy(request).outputs.of(record)
    return json_answer(job_of(record, outputs=outputs, urls=urls), status=status, headers=_NO_STORE)


_ENDPOINTS: Final[tuple[tuple[str, str, Endpoint], ...]] = (
    ("POST", "/jobs", submit),
    ("GET", "/jobs", list_jobs),
    ("GET", "/jobs/{job_id}", show),
    ("GET", "/jobs/{job_id}/workflow", workflow),
    ("POST", "/jobs/{job_id}/cancel", cancel),
    ("GET", "/jobs/{job_id}/events", events),
    ("POST", "/assets", upload),
    ("POST", "/assets/from-hash", from_hash),
    ("HEAD", "/assets/by-hash/{hash}", by_hash),
    ("GET", "/assets/{asset_id}", show_asset),
    ("GET", "/assets/{asset_id}/content", content),
    ("DELETE", "/assets/{asset_id}", delete_asset),
)

ROUTES: Final = tuple(
    Route(f"{mount}{BASE}{path}", spoken, methods=[method])
    for method, path, spoken in ((method, path, speaking(endpoint)) for method, path, endpoint in _ENDPOINTS)
    # The last one names the route in metrics and logs.
    for mount in (DEPLOYMENT, "")
)
