"""The routes: images at once, videos as jobs, models and health."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from fake_runtime import images
from fake_runtime.answers import disturb
from fake_runtime.encoding import json_response
from fake_runtime.faults import FaultBook, FaultName, Struck
from fake_runtime.gpu import memory
from fake_runtime.gpu.device import Gpu, JobInterruptedError
from fake_runtime.openai.drawing import Run
from fake_runtime.openai.flavours import FLAVOURS, ApiError
from fake_runtime.openai.videos import Video
from fake_runtime.openai.wishes import MAX_BODY_BYTES, Wish, read_body, wish_of
from fake_runtime.settings import Settings

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOK_SECONDS = 0.05
"""Between two looks whether the caller is still there."""

IMAGES_KEPT = 100
CLOSED_REQUEST = 499


class OpenAi:
    """One server process."""

    def __init__(self, settings: Settings, gpu: Gpu, faults: FaultBook) -> None:
        self.flavour = FLAVOURS.get(settings.flavour, FLAVOURS["vllm-omni"])
        self.gpu = gpu
        self.faults = faults
        self.model = settings.models[0]
        self.models = settings.models
        self.videos: dict[str, Video] = {}
        self.images: OrderedDict[str, bytes] = OrderedDict()
        gpu.model = self.model

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        app = web.Application(middlewares=[self._answer_errors], client_max_size=MAX_BODY_BYTES)
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/v1/models", self.list_models),
            ("POST", "/v1/images/generations", self.generations),
            ("POST", "/v1/images/edits", self.edits),
            ("GET", "/v1/images/{id}/content", self.image),
        ]
        if self.flavour.has_health:
            routes.append(("GET", "/health", self.health))
        if self.flavour.has_videos:
            routes += [
                ("POST", "/v1/videos", self.create_video),
                ("GET", "/v1/videos", self.list_videos),
                ("GET", "/v1/videos/{id}", self.video),
                ("DELETE", "/v1/videos/{id}", self.delete_video),
                ("GET", "/v1/videos/{id}/content", self.video_content),
            ]
        for method, path, handler in routes:
            app.router.add_route(method, path, handler)
        app.on_cleanup.append(self._end)
        return app

    async def _end(self, _: web.Application) -> None:
        tasks = [job.work for job in self.videos.values() if job.work is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return self.flavour.refuse(error)
        except memory.OutOfMemoryError as error:
            return self.flavour.refuse(ApiError(500, str(error), "InternalServerError"))
        except JobInterruptedError:
            return web.Response(status=CLOSED_REQUEST)
        except web.HTTPNotFound:
            return json_response({"detail": "Not Found"}, 404)
        except web.HTTPMethodNotAllowed:
            return json_response({"detail": "Method Not Allowed"}, 405)

    # --- the server

    async def health(self, _: web.Request) -> web.Response:
        """GET /health: an empty 200, however busy the GPU is."""
        return web.Response()

    async def list_models(self, _: web.Request) -> web.Response:
        """GET /v1/models: the one that is served."""
        model = {
            "id": self.model,
            "object": "model",
            "created": int(self.gpu.started),
            "owned_by": self.flavour.owned_by,
        }
        return json_response({"object": "list", "data": [model]})

    # --- images

    async def generations(self, request: web.Request) -> web.Response:
        """POST /v1/images/generations."""
        if not request.content_type.endswith("json"):
            raise ApiError(415, "Unsupported Media Type: Only 'application/json' is allowed")
        fields, files = await read_body(request)
        return await self._images(request, "images/generations", self._wish(fields, files))

    async def edits(self, request: web.Request) -> web.Response:
        """POST /v1/images/edits, which takes a form alone."""
        if not request.content_type.startswith("multipart/"):
            raise ApiError(400, "Content-Type must be multipart/form-data")
        fields, files = await read_body(request)
        if not files.keys() & {"image", "image[]"}:
            raise ApiError(400, "image: at least one image is required")
        return await self._images(request, "images/edits", self._wish(fields, files))

    async def image(self, request: web.Request) -> web.Response:
        """GET /v1/images/{id}/content."""
        data = self.images.get(request.match_info["id"])
        if data is None:
            raise ApiError(404, "Image not found", "NotFoundError")
        return web.Response(body=data, content_type="image/png")

    async def _images(self, request: web.Request, kind: str, wish: Wish) -> web.Response:
        struck = self.faults.take(wish.prompt)
        answering = dict(struck)
        if (fault := struck.get(FaultName.ERROR)) is not None and fault.body == "text":
            return web.Response(status=fault.status or 500, text=fault.message or "Internal Server Error")
        run = Run(self.gpu, kind, wish, struck, self.model)
        made = await self._while_wanted(request, run)
        if FaultName.ZERO_IMAGES in answering:
            made = []
        encoded = await asyncio.to_thread(lambda: [images.encode_png(image) for image in made])
        if (garbage := await disturb(answering)) is not None:
            return garbage
        size = {"output_format": "png", "size": f"{wish.width}x{wish.height}"}
        data = [self._linked(data) if wish.url else {"b64_json": images.to_base64(data)} for data in encoded]
        return json_response({"created": int(self.gpu.started), "data": data, **size})

    async def _while_wanted(self, request: web.Request, run: Run) -> list[Any]:
        """Runs; stops the run when its caller hangs up, if this server does so."""
        work = asyncio.create_task(run.pictures())
        while not work.done():
            await asyncio.wait({work}, timeout=LOOK_SECONDS)
            gone = request.transport is None or request.transport.is_closing()
            if gone and self.flavour.stops:
                run.stop()
        return work.result()

    def _linked(self, data: bytes) -> dict[str, str]:
        identifier = uuid.uuid4().hex
        self.images[identifier] = data
        while len(self.images) > IMAGES_KEPT:
            self.images.popitem(last=False)
        return {"url": f"/v1/images/{identifier}/content"}

    def _wish(self, fields: dict[str, Any], files: dict[str, list[bytes]]) -> Wish:
        wish = wish_of(fields, files, links=self.flavour.owned_by == "sglang")
        if self.flavour.knows_models and wish.model and wish.model not in self.models:
            raise ApiError(404, f"The model `{wish.model}` does not exist.", "NotFoundError")
        return wish

    # --- videos

    async def create_video(self, request: web.Request) -> web.Response:
        """POST /v1/videos: begins a job."""
        if request.content_type.endswith("json") == self.flavour.video_forms:
            raise ApiError(400, "prompt: Field required")
        fields, files = await read_body(request)
        wish = self._wish(fields, files)
        struck: Struck = self.faults.take(wish.prompt)
        job = Video(Run(self.gpu, "videos", wish, struck, self.model))
        job.work = asyncio.create_task(job.make())
        self.videos[job.id] = job
        return json_response(job.describe())

    async def list_videos(self, _: web.Request) -> web.Response:
        """GET /v1/videos: newest first."""
        return json_response({"object": "list", "data": [job.describe() for job in reversed(self.videos.values())]})

    async def video(self, request: web.Request) -> web.Response:
        """GET /v1/videos/{id}."""
        return json_response(self._video(request).describe())

    async def delete_video(self, request: web.Request) -> web.Response:
        """DELETE /v1/videos/{id}: forgets it; its run ends, or goes on unseen."""
        job = self._video(request)
        del self.videos[job.id]
        if self.flavour.stops:
            job.run.stop()
        return json_response({"id": job.id, "object": "video.deleted", "deleted": True})

    async def video_content(self, request: web.Request) -> web.Response:
        """GET /v1/videos/{id}/content."""
        job = self._video(request)
        if job.status != "completed":
            raise ApiError(404, "Generation is still in-progress", "NotFoundError")
        return web.Response(body=job.data, content_type="video/mp4")

    def _video(self, request: web.Request) -> Video:
        job = self.videos.get(request.match_info["id"])
        if job is None:
            raise ApiError(404, "Video not found", "NotFoundError")
        return job
