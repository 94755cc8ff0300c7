"""ComfyUI's routes, each also under ``/api``; empty answers and plain-text failures as in the original."""

import asyncio
import json
import mimetypes
import platform
import sys
import time
import uuid
from collections import ChainMap
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from fake_runtime.answers import disturb
from fake_runtime.comfyui import nodes, validation
from fake_runtime.comfyui.catalogue import known_classes
from fake_runtime.comfyui.execution import Executor, prompt_text
from fake_runtime.comfyui.files import Files, OutsideFolderError, folder_type, split_annotation
from fake_runtime.comfyui.jobs import JobQueryError, ended_job, is_job_id, list_jobs, queued_job
from fake_runtime.comfyui.node_types import Shelf
from fake_runtime.comfyui.nodes import NODE_CLASSES
from fake_runtime.comfyui.queue import PromptQueue
from fake_runtime.comfyui.uploads import Form, with_mask
from fake_runtime.comfyui.version import UPLOAD_LIMIT, VERSIONS
from fake_runtime.comfyui.websocket import Sockets
from fake_runtime.faults import FaultBook, FaultName, Place
from fake_runtime.gpu import memory
from fake_runtime.gpu.device import Gpu
from fake_runtime.settings import Settings

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# What a web page could run is sent as mere bytes.
_UNSAFE_TYPES = frozenset({"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"})
_UNSAFE_TODAY = _UNSAFE_TYPES | {"application/javascript", "image/svg+xml", "application/xml", "text/xml"}
_MODEL_BYTES = 2_132_625_894  # of most SD 1.5 checkpoints in half precision
_SENSITIVE = ("auth_token_comfy_org", "api_key_comfy_org")
"""What `extra_data` may hold that queue and history do not show."""


def foreign_origin(host: str, origin: str) -> bool:
    """Whether a browser's page of another site calls a server on loopback (``Origin`` against ``Host``)."""
    ours, theirs = urlsplit("//" + host.lower()), urlsplit(origin.lower())
    if ours.hostname not in _LOOPBACK or not theirs.hostname:
        return False
    ours_text, theirs_text = ours.netloc, theirs.netloc
    if theirs.port is None:
        ours_text = ours.hostname or ""
    if ours.port is None:
        theirs_text = theirs.hostname
    return ours_text != theirs_text


def json_response(body: object, status: int = 200) -> web.Response:
    """A JSON answer as Python's own encoder makes it: a number that is none comes as `NaN`."""
    return web.json_response(body, status=status)


def server_error() -> web.Response:
    """The answer of aiohttp when a handler fails: plain text, not JSON."""
    return web.Response(status=500, text="500 Internal Server Error\n\nServer got itself in trouble")


def _allowed(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers.get("Allow", "GET,HEAD")}


class ComfyUi:
    """One ComfyUI process."""

    def __init__(self, settings: Settings, gpu: Gpu, faults: FaultBook, files: Files) -> None:
        self.settings = settings
        self.gpu = gpu
        self.faults = faults
        self.files = files
        self.version = VERSIONS[settings.comfyui_version]
        self.shelf = Shelf(
            settings.models,
            files,
            ChainMap(known_classes(settings.catalogue), NODE_CLASSES),
            settings.any_model,
            self.version,
        )
        self.sockets = Sockets(self._remaining, self.version.features())
        self.queue = PromptQueue(self.sockets.send_status)
        self.executor = Executor(gpu, faults, self.shelf, self.queue, self.sockets, previews=settings.previews)
        self._number = 0

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        app = web.Application(middlewares=[self._answer_errors, self._same_origin], client_max_size=UPLOAD_LIMIT)
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/ws", self.sockets.serve),
            ("GET", "/prompt", self.get_prompt),
            ("POST", "/prompt", self.post_prompt),
            ("GET", "/queue", self.get_queue),
            ("POST", "/queue", self.post_queue),
            ("GET", "/history", self.get_history),
            ("GET", "/history/{prompt_id}", self.get_history_of),
            ("POST", "/history", self.post_history),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/view", self.view),
            ("POST", "/upload/image", self.upload_image),
            ("POST", "/upload/mask", self.upload_mask),
            ("GET", "/system_stats", self.system_stats),
            ("GET", "/features", self.features),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{node_class}", self.object_info_of),
            ("GET", "/models", self.model_folders),
            ("GET", "/models/{folder}", self.models),
            ("GET", "/experiment/models", self.model_places),
            ("GET", "/experiment/models/{folder}", self.model_files),
            ("GET", "/embeddings", self.embeddings),
            ("GET", "/extensions", self.embeddings),
        ]
        if self.version.current:
            for method, path, handler in self._job_routes():
                app.router.add_route(method, path, handler)
        for method, path, handler in routes:
            for prefix in ("", "/api"):
                app.router.add_route(method, prefix + path, handler)
                if method == "GET" and path != "/ws":
                    app.router.add_route("HEAD", prefix + path, handler)
        app.cleanup_ctx.append(self._run_worker)
        return app

    def _job_routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/api/jobs", self.get_jobs),
            ("GET", "/api/jobs/{job_id}", self.get_job),
            ("POST", "/api/jobs/cancel", self.cancel_jobs),
            ("POST", "/api/jobs/{job_id}/cancel", self.cancel_job),
            ("GET", "/api/assets", self.get_assets),
        ]

    async def _run_worker(self, app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.sockets.publish()), asyncio.create_task(self.executor.work())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- around every request

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            # The original serves the files of its page from the root: a GET of whatever else is a file that it lacks.
            if request.method in {"GET", "HEAD"}:
                return web.Response(status=404, content_type="application/octet-stream")
            return web.Response(status=405, text="405: Method Not Allowed", headers=_allowed(error))
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text=f"Maximum request body size {UPLOAD_LIMIT} exceeded.")
        except (ValueError, TypeError, LookupError, AttributeError):
            # A body of an unforeseen shape makes the original's handler fail.
            return server_error()

    @web.middleware
    async def _same_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.version.current and request.headers.get("Sec-Fetch-Site") == "cross-site":
            return web.Response(status=403)
        origin = request.headers.get("Origin")
        if origin is not None and foreign_origin(request.host, origin):
            return web.Response(status=403)
        if request.method == "OPTIONS":
            return web.Response()
        return await handler(request)

    async def _strike(self, text: str, at: Place) -> web.Response | None:
        """Suffers the faults of an answer: late, wrong, or an error."""
        struck = self.faults.take(text, at)
        if (garbage := await disturb(struck)) is not None:
            return garbage
        if (error := struck.get(FaultName.ERROR)) is not None:
            if error.body == "text":
                return server_error() if error.status in {None, 500} else web.Response(status=error.status or 500)
            return json_response({"error": error.message or "something went wrong"}, error.status or 500)
        return None

    def _remaining(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.queue)}}

    # --- prompts

    async def get_prompt(self, request: web.Request) -> web.Response:
        """GET /prompt."""
        return json_response(self._remaining())

    async def post_prompt(self, request: web.Request) -> web.Response:
        """POST /prompt: the content type is not looked at."""
        body = json.loads(await request.read())
        if "number" in body:
            number = float(body["number"])
        else:
            number = self._number
            if body.get("front") if isinstance(body, dict) else False:
                number = -number
            self._number += 1
        if "prompt" not in body:
            return json_response({"error": validation.NO_PROMPT, "node_errors": {}}, 400)
        prompt = body["prompt"]
        prompt_id = self._prompt_id(body)
        if prompt_id is None:
            return json_response({"error": validation.INVALID_PROMPT_ID, "node_errors": {}}, 400)
        verdict = validation.validate_prompt(prompt, self.shelf, body.get("partial_execution_targets"))
        if verdict.error is not None:
            return json_response({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if self.version.current:
            for name in _SENSITIVE:
                extra_data.pop(name, None)
            extra_data["create_time"] = int(time.time() * 1000)
        if (answer := await self._strike(prompt_text(prompt), "submit")) is not None:
            return answer
        self.queue.put(number, prompt_id, prompt, extra_data, verdict.outputs)
        return json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

    def _prompt_id(self, body: dict[str, Any]) -> str | None:
        """The id that a prompt gets; None if it brings one that is refused."""
        if not self.version.current:
            return str(body.get("prompt_id", uuid.uuid4()))
        wanted = body.get("prompt_id")
        if wanted is None:
            return str(uuid.uuid4())
        return wanted if is_job_id(wanted) else None

    async def get_queue(self, request: web.Request) -> web.Response:
        """GET /queue."""
        return json_response(self.queue.describe())

    async def post_queue(self, request: web.Request) -> web.Response:
        """POST /queue: clear, delete."""
        body = json.loads(await request.read())
        if "clear" in body and body["clear"]:  # noqa: RUF019 - of a list, too, this can be asked
            self.queue.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                self.queue.delete(prompt_id)
        return web.Response(status=200)

    async def get_history(self, request: web.Request) -> web.Response:
        """GET /history, with ``max_items`` and ``offset``."""
        max_items = request.query.get("max_items")
        offset = int(request.query.get("offset", "-1"))
        return json_response(self.queue.recall(None if max_items is None else int(max_items), offset))

    async def get_history_of(self, request: web.Request) -> web.Response:
        """GET /history/{id}: ``{}`` for whatever is not there."""
        prompt_id = request.match_info["prompt_id"]
        if (answer := await self._strike(prompt_id, "history")) is not None:
            return answer
        entry = self.queue.history.get(prompt_id)
        return json_response({} if entry is None else {prompt_id: entry})

    async def post_history(self, request: web.Request) -> web.Response:
        """POST /history: clear, delete."""
        body = json.loads(await request.read())
        if "clear" in body and body["clear"]:  # noqa: RUF019 - of a list, too, this can be asked
            self.queue.history.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                self.queue.history.pop(prompt_id, None)
        return web.Response(status=200)

    async def interrupt(self, request: web.Request) -> web.Response:
        """POST /interrupt: of one prompt if it runs, or of whatever runs."""
        try:
            body = json.loads(await request.read())
        except json.JSONDecodeError:
            body = {}
        prompt_id = body.get("prompt_id")
        running = self.queue.running
        if not prompt_id or (running is not None and running.prompt_id == prompt_id):
            self.executor.interrupt()
        return web.Response(status=200)

    # --- jobs

    async def get_jobs(self, request: web.Request) -> web.Response:
        """GET /api/jobs: what runs, waits and has ended, in pages."""
        queue = self.queue.describe()
        jobs = [
            *(queued_job(item, "in_progress") for item in queue["queue_running"]),
            *(queued_job(item, "pending") for item in queue["queue_pending"]),
            *(ended_job(prompt_id, entry) for prompt_id, entry in self.queue.history.items()),
        ]
        try:
            return json_response(list_jobs(jobs, request.query))
        except JobQueryError as error:
            return json_response({"error": str(error)}, 400)

    async def get_job(self, request: web.Request) -> web.Response:
        """GET /api/jobs/{id}: one job, with all that the history has of it."""
        job_id = request.match_info["job_id"]
        if (entry := self.queue.history.get(job_id)) is not None:
            return json_response(ended_job(job_id, entry, whole=True))
        queue = self.queue.describe()
        for status, items in (("in_progress", queue["queue_running"]), ("pending", queue["queue_pending"])):
            for item in items:
                if item[1] == job_id:
                    return json_response(queued_job(item, status))
        return json_response({"error": "Job not found"}, 404)

    async def cancel_job(self, request: web.Request) -> web.Response:
        """POST /api/jobs/{id}/cancel: of a prompt that runs or waits, and of no other."""
        return json_response({"cancelled": self._cancel(request.match_info["job_id"])})

    async def cancel_jobs(self, request: web.Request) -> web.Response:
        """POST /api/jobs/cancel: of several at once."""
        try:
            body = json.loads(await request.read())
        except json.JSONDecodeError:
            return json_response({"error": "Request body must be valid JSON"}, 400)
        job_ids = body.get("job_ids") if isinstance(body, dict) else None
        if not isinstance(job_ids, list):
            return json_response({"error": "job_ids must be a list"}, 400)
        if wrong := [item if isinstance(item, str) else repr(item) for item in job_ids if not is_job_id(item)]:
            return json_response({"error": "job_ids contains invalid id(s)", "invalid_ids": wrong}, 400)
        return json_response({"cancelled": max(map(self._cancel, job_ids), default=False)})

    def _cancel(self, job_id: str) -> bool:
        if self.queue.running is not None and self.queue.running.prompt_id == job_id:
            self.executor.interrupt()
            return True
        return self.queue.delete(job_id)

    async def get_assets(self, request: web.Request) -> web.Response:
        """GET /api/assets: refused unless assets are on; the fake lists none."""
        if self.version.assets:
            return json_response({"assets": [], "total": 0, "has_more": False})
        message = "Assets system is disabled. Start the server with --enable-assets to use this feature."
        return json_response({"error": {"code": "SERVICE_DISABLED", "message": message, "details": {}}}, 503)

    async def free(self, request: web.Request) -> web.Response:
        """POST /free: unload_models, free_memory."""
        body = json.loads(await request.read())
        self.executor.free(
            unload_models=bool(body.get("unload_models", False)), free_memory=bool(body.get("free_memory", False))
        )
        return web.Response(status=200)

    # --- files

    async def view(self, request: web.Request) -> web.StreamResponse:
        """GET /view: a file of one of the folders."""
        name = request.query.get("filename")
        if name is None:
            return web.Response(status=404)
        if (answer := await self._strike(name, "view")) is not None:
            return answer
        name, annotated = split_annotation(name)
        folder = annotated or folder_type(request.query.get("type", "output"))
        if not name or name.startswith("/") or ".." in name or folder is None:
            return web.Response(status=400)
        try:
            path = self.files.inside(folder, request.query.get("subfolder", ""), name.rpartition("/")[2])
        except (OutsideFolderError, ValueError):
            return web.Response(status=403)
        if not path.is_file():
            return web.Response(status=404)
        content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"Content-Disposition": f'filename="{path.name}"'}
        if self.version.current:
            headers["X-Content-Type-Options"] = "nosniff"
            if content_type in _UNSAFE_TODAY or content_type.endswith("+xml"):
                headers |= {"Vary": "Sec-Fetch-Dest", "Cache-Control": "no-store"}
                headers["Content-Disposition"] = f'attachment; filename="{path.name}"'
                content_type = "application/octet-stream"
        elif content_type in _UNSAFE_TYPES:
            content_type = "application/octet-stream"
        headers["Content-Type"] = content_type
        return web.FileResponse(path, headers=headers)

    async def upload_image(self, request: web.Request) -> web.Response:
        """POST /upload/image: multipart with image, overwrite, type, subfolder."""
        form = await Form.read(request, UPLOAD_LIMIT)
        return web.Response(status=400) if form is None else await self._store(form, form.data)

    async def upload_mask(self, request: web.Request) -> web.Response:
        """POST /upload/mask: the same, and original_ref, the picture that gets the mask as its transparency."""
        form = await Form.read(request, UPLOAD_LIMIT)
        if form is None:
            return web.Response(status=400)
        reference = json.loads(form.fields["original_ref"])
        folder = folder_type(reference.get("type", "output"))
        if folder is None:
            raise ValueError("no such folder")
        original = self.files.inside(folder, reference.get("subfolder", ""), reference["filename"])
        masked = await asyncio.to_thread(with_mask, original, form.data) if original.is_file() else b""
        return await self._store(form, masked)

    async def _store(self, form: Form, data: bytes) -> web.Response:
        folder = folder_type(form.fields.get("type", "input"))
        if folder is None:
            raise ValueError("no such folder")
        subfolder = form.fields.get("subfolder", "")
        overwrite = form.fields.get("overwrite", "") in {"true", "1"}
        try:
            stored = await asyncio.to_thread(self.files.upload, folder, subfolder, form.name, data, overwrite=overwrite)
        except (OutsideFolderError, ValueError):
            return web.Response(status=400)
        return json_response({"name": stored, "subfolder": subfolder, "type": folder})

    # --- what there is

    async def system_stats(self, request: web.Request) -> web.Response:
        """GET /system_stats."""
        total, used = self.gpu.total_bytes, self.gpu.bytes_in_use
        system: dict[str, Any] = {
            "os": "posix",
            "ram_total": 32 * memory.GIB,
            "ram_free": 16 * memory.GIB,
            **self.version.system(),
            "python_version": sys.version,
            "embedded_python": False,
            "argv": ["main.py", "--listen", self.settings.host, "--port", str(self.settings.port)],
        }
        return json_response(
            {
                "system": system,
                "devices": [
                    {
                        "name": f"cuda:0 Fake GPU on {platform.machine()} : cudaMallocAsync",
                        "type": "cuda",
                        "index": 0,
                        "vram_total": total,
                        "vram_free": total - used,
                        "torch_vram_total": used,
                        "torch_vram_free": 0,
                    }
                ],
            }
        )

    async def features(self, request: web.Request) -> web.Response:
        """GET /features."""
        return json_response(self.version.features())

    async def object_info(self, request: web.Request) -> web.Response:
        """GET /object_info."""
        return json_response({name: nodes.describe(node, self.shelf) for name, node in self.shelf.classes.items()})

    async def object_info_of(self, request: web.Request) -> web.Response:
        """GET /object_info/{class}: ``{}`` for an unknown one."""
        node = self.shelf.classes.get(request.match_info["node_class"])
        return json_response({} if node is None else {node.name: nodes.describe(node, self.shelf)})

    async def model_folders(self, request: web.Request) -> web.Response:
        """GET /models."""
        return json_response(self.version.folders)

    async def models(self, request: web.Request) -> web.Response:
        """GET /models/{folder}."""
        folder = request.match_info["folder"]
        if folder not in self.version.folders:
            return web.Response(status=404)
        return json_response(self.settings.models if folder == "checkpoints" else [])

    async def model_places(self, request: web.Request) -> web.Response:
        """GET /experiment/models: each folder with its paths, but for those that hold no models."""
        folders = [name for name in self.version.folders if name not in {"configs", "custom_nodes"}]
        endings: dict[str, Any] = {"extensions": [".ckpt", ".safetensors"]} if self.version.current else {}
        return json_response([{"name": name, "folders": [f"/comfyui/models/{name}"], **endings} for name in folders])

    async def model_files(self, request: web.Request) -> web.Response:
        """GET /experiment/models/{folder}: the files with their sizes, which here are those of an SD 1.5."""
        folder = request.match_info["folder"]
        if folder not in self.version.folders:
            return web.Response(status=404)
        names = self.settings.models if folder == "checkpoints" else []
        moment = self.gpu.started
        return json_response(
            [
                {"name": name, "pathIndex": 0, "modified": moment, "created": moment, "size": _MODEL_BYTES}
                for name in names
            ]
        )

    async def embeddings(self, request: web.Request) -> web.Response:
        """GET /embeddings and /extensions: none."""
        return json_response([])
