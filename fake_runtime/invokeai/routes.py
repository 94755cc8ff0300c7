"""InvokeAI's routes, with the answers of FastAPI to whatever does not fit."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ValidationError

from fake_runtime import images as pictures
from fake_runtime.answers import disturb
from fake_runtime.encoding import json_response
from fake_runtime.faults import FaultBook, FaultName, Place
from fake_runtime.gpu.device import Gpu
from fake_runtime.invokeai.execution import Executor, graph_text
from fake_runtime.invokeai.nodes import KEPT, identifier
from fake_runtime.invokeai.queue import QUEUE_ID, Item, Queue, shown, summary
from fake_runtime.invokeai.schema import CancelRequest, EnqueueRequest, ImageNames
from fake_runtime.invokeai.store import Database, Images
from fake_runtime.settings import Settings

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = "6.14.2"
CATEGORIES = ("general", "mask", "control", "user", "other")
MAX_BODY_BYTES = 2**30
_PAGE = '<!DOCTYPE html>\n<html lang="en">\n<head><title>Invoke - Community Edition</title></head>\n</html>'
_QUEUE = "/api/v1/queue/{queue_id}"
_IMAGES = "/api/v1/images"


class _RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _fault(kind: str, place: list[Any], message: str, given: Any, **context: Any) -> dict[str, Any]:
    """One fault of a request, as FastAPI words it."""
    return {"type": kind, "loc": place, "msg": message, "input": given, **({"ctx": context} if context else {})}


async def _read[Model: BaseModel](request: web.Request, model: type[Model]) -> Model:
    """Reads a JSON body.

    Raises:
        _RefusedError: it is of another shape.
    """
    body = await request.read()
    try:
        document = json.loads(body) if body else {}
    except json.JSONDecodeError as error:
        fault = _fault("json_invalid", ["body", error.pos], "JSON decode error", {}, error=error.msg)
        raise _RefusedError(422, [fault]) from error
    try:
        return model.model_validate(document, from_attributes=True)
    except ValidationError as error:
        faults: list[dict[str, Any]] = [
            {**fault, "loc": ["body", *fault["loc"]]} for fault in error.errors(include_url=False)
        ]
        for fault in faults:
            if "error" in fault.get("ctx", {}):
                fault["ctx"] = {"error": {}}
            if fault["type"] == "missing" and len(fault["loc"]) == 2:
                # FastAPI takes the fields of the body one by one.
                fault["input"] = None
        raise _RefusedError(422, faults) from error


class InvokeAi:
    """One InvokeAI process."""

    def __init__(self, settings: Settings, gpu: Gpu, faults: FaultBook, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        database = Database(folder)
        self.settings = settings
        self.faults = faults
        self.images = Images(folder, database)
        self.queue = Queue(database)
        self.executor = Executor(gpu, faults, self.images, self.queue, settings.models)

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        app = web.Application(middlewares=[self._answer_errors], client_max_size=MAX_BODY_BYTES)
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/api/v1/app/version", self.version),
            ("GET", "/api/v1/app/app_deps", self.packages),
            ("GET", "/api/v1/app/invocation_cache/status", self.cache_status),
            ("DELETE", "/api/v1/app/invocation_cache", self.clear_cache),
            ("POST", f"{_QUEUE}/enqueue_batch", self.enqueue_batch),
            ("GET", f"{_QUEUE}/list_all", self.list_all),
            ("POST", f"{_QUEUE}/item_summaries_by_ids", self.summaries),
            ("PUT", f"{_QUEUE}/processor/pause", self.pause),
            ("PUT", f"{_QUEUE}/processor/resume", self.resume),
            ("PUT", f"{_QUEUE}/cancel_by_batch_ids", self.cancel_by_batch_ids),
            ("PUT", f"{_QUEUE}/cancel_by_destination", self.cancel_by_destination),
            ("PUT", f"{_QUEUE}/clear", self.clear),
            ("PUT", f"{_QUEUE}/prune", self.prune),
            ("GET", f"{_QUEUE}/current", self.current),
            ("GET", f"{_QUEUE}/status", self.status),
            ("GET", f"{_QUEUE}/b/{{batch_id}}/status", self.batch_status),
            ("GET", f"{_QUEUE}/i/{{item_id}}", self.item),
            ("DELETE", f"{_QUEUE}/i/{{item_id}}", self.delete_item),
            ("PUT", f"{_QUEUE}/i/{{item_id}}/cancel", self.cancel_item),
            ("DELETE", f"{_QUEUE}/d/{{destination}}", self.delete_by_destination),
            ("POST", f"{_IMAGES}/upload", self.upload),
            ("POST", f"{_IMAGES}/delete", self.delete_images),
            ("POST", f"{_IMAGES}/images_by_names", self.images_by_names),
            ("GET", f"{_IMAGES}/i/{{name}}", self.image),
            ("DELETE", f"{_IMAGES}/i/{{name}}", self.delete_image),
            ("GET", f"{_IMAGES}/i/{{name}}/full", self.full),
            ("HEAD", f"{_IMAGES}/i/{{name}}/full", self.full),
            ("GET", "/api/v2/models/", self.models),
        ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
        app.cleanup_ctx.append(self._run_worker)
        return app

    async def _run_worker(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.executor.work())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # --- around every request

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except _RefusedError as error:
            return json_response({"detail": error.detail}, error.status)
        except web.HTTPNotFound:
            # The original serves its page for every address that it does not know.
            if request.method in {"GET", "HEAD"}:
                return web.Response(text=_PAGE, content_type="text/html")
            return json_response({"detail": "Method Not Allowed"}, 405)
        except web.HTTPMethodNotAllowed:
            return json_response({"detail": "Method Not Allowed"}, 405)

    async def _strike(self, text: str, at: Place) -> web.Response | None:
        """Suffers the faults of an answer: late, wrong, or an error."""
        struck = self.faults.take(text, at)
        if (garbage := await disturb(struck)) is not None:
            return garbage
        if (error := struck.get(FaultName.ERROR)) is not None:
            if error.body == "text":
                return web.Response(status=error.status or 500, text="Internal Server Error")
            detail = f"Unexpected error while enqueuing batch: {error.message or 'something went wrong'}"
            return json_response({"detail": detail}, error.status or 500)
        return None

    # --- the server

    async def version(self, request: web.Request) -> web.Response:
        """GET /app/version."""
        return json_response({"version": VERSION})

    async def packages(self, request: web.Request) -> web.Response:
        """GET /app/app_deps: the versions of what it is built of."""
        return json_response({"invokeai": VERSION, "torch": "2.13.0+fake", "diffusers": "0.36.0"})

    async def models(self, request: web.Request) -> web.Response:
        """GET models: the checkpoints on offer, all of SD 1's kind."""
        return json_response({"models": [identifier(name) for name in self.settings.models]})

    async def cache_status(self, request: web.Request) -> web.Response:
        """GET /app/invocation_cache/status."""
        executor = self.executor
        counts = {"size": len(executor.cache), "hits": executor.hits, "misses": executor.misses}
        return json_response({**counts, "enabled": True, "max_size": KEPT})

    async def clear_cache(self, request: web.Request) -> web.Response:
        """DELETE /app/invocation_cache."""
        self.executor.cache.clear()
        self.executor.hits = self.executor.misses = 0
        return json_response(None)

    # --- the queue

    async def enqueue_batch(self, request: web.Request) -> web.Response:
        """POST enqueue_batch: the graph is validated, and what it lacks shows only when it runs."""
        wanted = await _read(request, EnqueueRequest)
        if (answer := await self._strike(graph_text(wanted.batch.graph), "submit")) is not None:
            return answer
        item_ids, priority = self.queue.enqueue(wanted.batch, prepend=wanted.prepend)
        return json_response(
            {
                "queue_id": request.match_info["queue_id"],
                "enqueued": wanted.batch.runs,
                "requested": wanted.batch.runs,
                "batch": {**wanted.batch.model_dump(mode="json"), "data": None},
                "priority": priority,
                "item_ids": item_ids,
            }
        )

    async def list_all(self, request: web.Request) -> web.Response:
        """GET list_all, of one destination or of all."""
        return json_response(self.queue.listed(request.query.get("destination")))

    async def summaries(self, request: web.Request) -> web.Response:
        """POST item_summaries_by_ids: those that are there."""
        wanted = json.loads(await request.read())["item_ids"]
        return json_response([summary(self.queue.items[number]) for number in wanted if number in self.queue.items])

    async def pause(self, request: web.Request) -> web.Response:
        """PUT processor/pause: what runs goes on."""
        self.queue.pause(paused=True)
        return json_response(self._processor())

    async def resume(self, request: web.Request) -> web.Response:
        """PUT processor/resume."""
        self.queue.pause(paused=False)
        return json_response(self._processor())

    async def cancel_by_batch_ids(self, request: web.Request) -> web.Response:
        """PUT cancel_by_batch_ids."""
        wanted = await _read(request, CancelRequest)
        return json_response({"canceled": self.queue.cancel(self.queue.of("batch_id", wanted.batch_ids))})

    async def cancel_by_destination(self, request: web.Request) -> web.Response:
        """PUT cancel_by_destination."""
        if "destination" not in request.query:
            raise _RefusedError(422, [_fault("missing", ["query", "destination"], "Field required", None)])
        found = self.queue.of("destination", [request.query["destination"]])
        return json_response({"canceled": self.queue.cancel(found)})

    async def delete_by_destination(self, request: web.Request) -> web.Response:
        """DELETE d/{destination}."""
        found = self.queue.of("destination", [request.match_info["destination"]])
        return json_response({"deleted": self.queue.delete(found)})

    async def clear(self, request: web.Request) -> web.Response:
        """PUT clear: all items, whatever their state."""
        return json_response({"deleted": self.queue.delete(self.queue.items.values())})

    async def prune(self, request: web.Request) -> web.Response:
        """PUT prune: the items that have ended."""
        return json_response(
            {"deleted": self.queue.delete(self.queue.of("status", ["completed", "failed", "canceled"]))}
        )

    async def current(self, request: web.Request) -> web.Response:
        """GET current: null when nothing runs."""
        return json_response(self.queue.current())

    async def status(self, request: web.Request) -> web.Response:
        """GET status: counts, and what the processor does."""
        queue_id = request.match_info["queue_id"]
        items = list(self.queue.items.values()) if queue_id == QUEUE_ID else []
        current = self.queue.current() if items else None
        counts = self.queue.counts(items)
        names = {name: current and current[name] for name in ("item_id", "batch_id", "session_id")}
        own = {"user_pending": counts["pending"], "user_in_progress": counts["in_progress"]}
        return json_response(
            {"queue": {"queue_id": queue_id, **names, **counts, **own}, "processor": self._processor()}
        )

    async def batch_status(self, request: web.Request) -> web.Response:
        """GET b/{batch_id}/status: nothing but noughts for a batch that is unknown."""
        batch_id = request.match_info["batch_id"]
        items = self.queue.of("batch_id", [batch_id])
        named = {name: items[0][name] if items else None for name in ("origin", "destination")}
        names = {"queue_id": request.match_info["queue_id"], "batch_id": batch_id}
        return json_response({**names, **named, **self.queue.counts(items)})

    async def item(self, request: web.Request) -> web.Response:
        """GET i/{item_id}: the results are there once it has ended."""
        item = self._item(request, "fetching")
        if (answer := await self._strike(item["batch_id"], "history")) is not None:
            return answer
        return json_response(shown(item))

    async def delete_item(self, request: web.Request) -> web.Response:
        """DELETE i/{item_id}."""
        self.queue.delete([self._item(request, "deleting")])
        return json_response(None)

    async def cancel_item(self, request: web.Request) -> web.Response:
        """PUT i/{item_id}/cancel: one that has ended stays as it is."""
        item = self._item(request, "canceling")
        self.queue.cancel([item])
        return json_response(item)

    def _item(self, request: web.Request, doing: str) -> Item:
        text, queue_id = request.match_info["item_id"], request.match_info["queue_id"]
        try:
            number = int(text)
        except ValueError as error:
            message = "Input should be a valid integer, unable to parse string as an integer"
            raise _RefusedError(422, [_fault("int_parsing", ["path", "item_id"], message, text)]) from error
        detail = f"Queue item with id {number} not found in queue {queue_id}"
        if number not in self.queue.items:
            raise _RefusedError(404, detail)
        if queue_id != QUEUE_ID:
            if doing == "fetching":
                raise _RefusedError(500, f"Unexpected error while fetching queue item: 404: {detail}")
            raise _RefusedError(404, detail)
        return self.queue.items[number]

    def _processor(self) -> dict[str, bool]:
        return {"is_started": not self.queue.paused, "is_processing": self.queue.processing is not None}

    # --- images

    async def upload(self, request: web.Request) -> web.Response:
        """POST upload: whatever Pillow reads, kept as PNG under a name of the server's."""
        needed = ("image_category", "is_intermediate")
        if faults := [
            _fault("missing", ["query", name], "Field required", None) for name in needed if name not in request.query
        ]:
            raise _RefusedError(422, faults)
        category = request.query["image_category"]
        if category not in CATEGORIES:
            expected = ", ".join(f"'{name}'" for name in CATEGORIES[:-1]) + f" or '{CATEGORIES[-1]}'"
            fault = _fault(
                "enum", ["query", "image_category"], f"Input should be {expected}", category, expected=expected
            )
            raise _RefusedError(422, [fault])
        content_type, data = await _file(request)
        if not content_type.startswith("image"):
            raise _RefusedError(415, "Not an image")
        try:
            image = Image.open(io.BytesIO(data))
        except (UnidentifiedImageError, OSError) as error:
            raise _RefusedError(415, "Failed to read image") from error
        try:
            png = await asyncio.to_thread(pictures.encode_png, image)
        except OSError as error:
            raise _RefusedError(500, "Failed to create image") from error
        intermediate = request.query["is_intermediate"].lower() in {"true", "1", "yes", "on"}
        record = self.images.save(png, image.size, category=category, is_intermediate=intermediate)
        answer = json_response(record, 201)
        answer.headers["Location"] = record["image_url"]
        return answer

    async def image(self, request: web.Request) -> web.Response:
        """GET i/{name}: the record."""
        record = self.images.records.get(request.match_info["name"])
        if record is None:
            raise _RefusedError(404, "Not Found")
        return json_response(record)

    async def full(self, request: web.Request) -> web.StreamResponse:
        """GET i/{name}/full: the picture."""
        name = request.match_info["name"]
        if (answer := await self._strike(name, "view")) is not None:
            return answer
        path = self.images.path(name)
        if path is None:
            raise _RefusedError(404, "Not Found")
        headers = {
            "Content-Type": "image/png",
            "Content-Disposition": f'inline; filename="{name}"',
            "Cache-Control": "max-age=31536000",
        }
        return web.FileResponse(path, headers=headers)

    async def delete_image(self, request: web.Request) -> web.Response:
        """DELETE i/{name}."""
        name = request.match_info["name"]
        if not self.images.delete(name):
            raise _RefusedError(404, "Image not found")
        return json_response({"deleted_images": [name], "failed_images": [], "affected_boards": ["none"]})

    async def delete_images(self, request: web.Request) -> web.Response:
        """POST delete: those that are there."""
        wanted = await _read(request, ImageNames)
        deleted = [name for name in wanted.image_names if self.images.delete(name)]
        boards = ["none"] if deleted else []
        return json_response({"affected_boards": boards, "deleted_images": deleted, "failed_images": []})

    async def images_by_names(self, request: web.Request) -> web.Response:
        """POST images_by_names: the records of those that are there, in the order of the names."""
        wanted = await _read(request, ImageNames)
        records = self.images.records
        return json_response([records[name] for name in wanted.image_names if name in records])


async def _file(request: web.Request) -> tuple[str, bytes]:
    """Returns type and bytes of the form's file.

    Raises:
        _RefusedError: it has none.
    """
    if request.content_type.startswith("multipart/"):
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file" and part.filename is not None:
                return part.headers.get("Content-Type", ""), bytes(await part.read())
    raise _RefusedError(422, [_fault("missing", ["body", "file"], "Field required", None)])
