"""ComfyUI's routes, each also under ``/api``; empty answers and plain-text failures as in the original."""

import asyncio
import json
import mimetypes
import platform
import sys
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
from fake_runtime.comfyui.node_types import Shelf
from fake_runtime.comfyui.nodes import NODE_CLASSES
from fake_runtime.comfyui.queue import PromptQueue
from fake_runtime.comfyui.uploads import Form, with_mask
from fake_runtime.comfyui.websocket import FEATURES, Sockets
from fake_runtime.faults import FaultBook, FaultName, Place
from fake_runtime.gpu import memory
from fake_runtime.gpu.device import Gpu
from fake_runtime.settings import Settings

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = "0.3.64"
MAX_BODY_BYTES = 104_857_600
MODEL_FOLDERS = [
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "hypernetworks", "photomaker",
    "classifiers", "model_patches", "audio_encoders",
]  # fmt: skip
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# What a web page could run is sent as mere bytes.
_UNSAFE_TYPES = frozenset({"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"})


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
        self.shelf = Shelf(
            settings.models, files, ChainMap(known_classes(settings.catalogue), NODE_CLASSES), settings.any_model
        )
        self.sockets = Sockets(self._remaining)
        self.queue = PromptQueue(self.sockets.send_status)
        self.executor = Executor(gpu, faults, self.shelf, self.queue, self.sockets, previews=settings.previews)
        self._number = 0

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        app = web.Application(middlewares=[self._answer_errors, self._same_origin], client_max_size=MAX_BODY_BYTES)
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
            ("GET", "/embeddings", self.embeddings),
            ("GET", "/extensions", self.embeddings),
        ]
        for method, path, handler in routes:
            for prefix in ("", "/api"):
                app.router.add_route(method, prefix + path, handler)
                if method == "GET" and path != "/ws":
                    app.router.add_route("HEAD", prefix + path, handler)
        app.cleanup_ctx.append(self._run_worker)
        return app

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
            return web.Response(status=413, text=f"Maximum request body size {MAX_BODY_BYTES} exceeded.")
        except (ValueError, TypeError, LookupError, AttributeError):
            # A body of an unforeseen shape makes the original's handler fail.
            return server_error()

    @web.middleware
    async def _same_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
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
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        verdict = validation.validate_prompt(prompt, self.shelf, body.get("partial_execution_targets"))
        if verdict.error is not None:
            return json_response({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
        extra_data = body.get("extra_data", {})
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        if (answer := await self._strike(prompt_text(prompt), "submit")) is not None:
            return answer
        self.queue.put(number, prompt_id, prompt, extra_data, verdict.outputs)
        return json_response({"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors})

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
        if content_type in _UNSAFE_TYPES:
            content_type = "application/octet-stream"
        headers = {"Content-Disposition": f'filename="{path.name}"', "Content-Type": content_type}
        return web.FileResponse(path, headers=headers)

    async def upload_image(self, request: web.Request) -> web.Response:
        """POST /upload/image: multipart with image, overwrite, type, subfolder."""
        form = await Form.read(request, MAX_BODY_BYTES)
        return web.Response(status=400) if form is None else await self._store(form, form.data)

    async def upload_mask(self, request: web.Request) -> web.Response:
        """POST /upload/mask: the same, and original_ref, the picture that gets the mask as its transparency."""
        form = await Form.read(request, MAX_BODY_BYTES)
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
        return json_response(
            {
                "system": {
                    "os": "posix",
                    "ram_total": 32 * memory.GIB,
                    "ram_free": 16 * memory.GIB,
                    "comfyui_version": VERSION,
                    "required_frontend_version": "1.27.10",
                    "installed_templates_version": "0.1.94",
                    "required_templates_version": "0.1.94",
                    "python_version": sys.version,
                    "pytorch_version": "2.13.0+fake",
                    "embedded_python": False,
                    "argv": ["main.py", "--listen", self.settings.host, "--port", str(self.settings.port)],
                },
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
        return json_response(FEATURES)

    async def object_info(self, request: web.Request) -> web.Response:
        """GET /object_info."""
        return json_response({name: nodes.describe(node, self.shelf) for name, node in self.shelf.classes.items()})

    async def object_info_of(self, request: web.Request) -> web.Response:
        """GET /object_info/{class}: ``{}`` for an unknown one."""
        node = self.shelf.classes.get(request.match_info["node_class"])
        return json_response({} if node is None else {node.name: nodes.describe(node, self.shelf)})

    async def model_folders(self, request: web.Request) -> web.Response:
        """GET /models."""
        return json_response(MODEL_FOLDERS)

    async def models(self, request: web.Request) -> web.Response:
        """GET /models/{folder}."""
        folder = request.match_info["folder"]
        if folder not in MODEL_FOLDERS:
            return web.Response(status=404)
        return json_response(self.settings.models if folder == "checkpoints" else [])

    async def embeddings(self, request: web.Request) -> web.Response:
        """GET /embeddings and /extensions: none."""
        return json_response([])
