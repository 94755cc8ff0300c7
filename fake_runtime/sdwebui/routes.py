"""SD Web UI's routes: reads requests, takes turns at the GPU, answers and fails as the original does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from PIL import Image

from fake_runtime import images
from fake_runtime.answers import disturb
from fake_runtime.encoding import json_response
from fake_runtime.faults import Fault, FaultBook, FaultName, Struck
from fake_runtime.gpu import memory
from fake_runtime.gpu.device import Gpu, Job
from fake_runtime.sdwebui import catalog, errors, failures, generation, listings, schema
from fake_runtime.sdwebui.catalog import Checkpoint, Checkpoints
from fake_runtime.sdwebui.errors import RequestValidationError, WebUiError
from fake_runtime.sdwebui.flavours import flavours
from fake_runtime.sdwebui.generation import Plan
from fake_runtime.sdwebui.middlewares import middlewares
from fake_runtime.sdwebui.state import State
from fake_runtime.settings import Settings

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
type Values = Mapping[str, Any]

# No limit in the original; this one only keeps a mistaken client from filling the memory.
MAX_BODY_BYTES = 1024**3
MAX_IMAGES = 4096
PREVIEW_PIXELS = 64


def _error_answer(fault: Fault) -> web.Response:
    status = fault.status or 500
    message = fault.message or "something went wrong"
    if fault.body == "text":
        return web.Response(text="Internal Server Error" if fault.message is None else message, status=status)
    return WebUiError(status, error="RuntimeError", errors=message).response()


def _decode(text: object) -> Image.Image:
    if not isinstance(text, str):
        raise WebUiError(
            500, error="AttributeError", errors=f"'{type(text).__name__}' object has no attribute 'startswith'"
        )
    # The original fetches links itself; this one never does, and answers as if that were switched off.
    if text.startswith(("http://", "https://")):
        raise WebUiError(500, detail="Requests not allowed")
    if text.startswith("data:image/") and "," not in text.partition(";")[2].partition(";")[0]:
        raise WebUiError(500, error="IndexError", errors="list index out of range")
    try:
        return images.from_base64(text)
    except images.InvalidImageError as error:
        raise WebUiError(500, detail=errors.INVALID_IMAGE) from error


class WebUi:
    """One SD Web UI process."""

    def __init__(self, settings: Settings, gpu: Gpu, faults: FaultBook) -> None:
        self.settings = settings
        self.gpu = gpu
        self.faults = faults
        self.state = State()
        self.checkpoints = Checkpoints(settings.models)
        self.checkpoint = self.checkpoints.all[0]
        self.options = catalog.default_options(self.checkpoint)
        self._preview: Plan | None = None
        gpu.model = self.checkpoint.name

    def application(self) -> web.Application:
        """The aiohttp application with every route."""
        around = [*middlewares(self.settings.api_auth), *flavours(self.settings.flavour)]
        app = web.Application(middlewares=around, client_max_size=MAX_BODY_BYTES)
        post: dict[str, Handler] = {
            "txt2img": self.text_to_image,
            "img2img": self.image_to_image,
            "extra-single-image": self.extra_single_image,
            "extra-batch-images": self.extra_batch_images,
            "png-info": self.png_info,
            "interrogate": self.interrogate,
            "interrupt": self.interrupt,
            "skip": self.skip,
            "options": self.set_options,
            "refresh-checkpoints": self.refresh,
            "refresh-embeddings": self.refresh,
            "refresh-vae": self.refresh,
            "refresh-loras": self.refresh,
            "unload-checkpoint": self.unload_checkpoint,
            "reload-checkpoint": self.reload_checkpoint,
        }
        get: dict[str, Handler] = {
            "progress": self.progress,
            "options": self.get_options,
            "memory": self.memory,
            "sd-models": self.sd_models,
        }
        for name, handler in post.items():
            app.router.add_post(f"/sdapi/v1/{name}", handler)
        for name, handler in get.items():
            app.router.add_get(f"/sdapi/v1/{name}", handler, allow_head=False)
        listings.add_routes(app, self.settings)
        return app

    # --- what requests hold

    async def _json(self, request: web.Request) -> Any:
        data = await request.read()
        if data and "json" not in request.headers.get("Content-Type", "application/json"):
            # FastAPI leaves a body of another type as bytes, which no model accepts.
            return data
        try:
            body, details = schema.read_json(data)
        except UnicodeDecodeError as error:
            raise errors.FaultAnswerError(
                json_response({"detail": "There was an error parsing the body"}, 400)
            ) from error
        if details:
            raise RequestValidationError(details)
        return body

    async def _values(self, request: web.Request, wanted: schema.Schema) -> dict[str, Any]:
        values, details = schema.validate(wanted, await self._json(request))
        if details:
            raise RequestValidationError(details)
        return values

    # --- generation

    async def text_to_image(self, request: web.Request) -> web.Response:
        """POST txt2img."""
        return await self._generate("txt2img", await self._values(request, schema.TEXT_TO_IMAGE), None)

    async def image_to_image(self, request: web.Request) -> web.Response:
        """POST img2img."""
        values = await self._values(request, schema.IMAGE_TO_IMAGE)
        if values["init_images"] is None:
            raise WebUiError(404, detail="Init image not found")
        return await self._generate("img2img", values, values["init_images"])

    def _check_scripts(self, values: Values, kind: str) -> None:
        selectable = catalog.SELECTABLE_SCRIPTS if kind == "txt2img" else catalog.IMAGE_TO_IMAGE_SCRIPTS
        built_in = catalog.ALWAYS_ON_SCRIPTS if kind == "txt2img" else catalog.IMAGE_TO_IMAGE_ALWAYS_ON_SCRIPTS
        always_on = {name.lower() for name in (*built_in, *self.settings.scripts)}
        name = values["script_name"]
        if name and name.lower() not in selectable:
            raise WebUiError(422, detail=f"Script '{name}' not found")
        for name, arguments in values["alwayson_scripts"].items():
            if name.lower() in selectable:
                raise WebUiError(422, detail="Cannot have a selectable script in the always on scripts params")
            if name.lower() not in always_on:
                raise WebUiError(422, detail=f"Script '{name}' not found")
            if not isinstance(arguments, dict | list | str):
                raise WebUiError(
                    500, error="TypeError", errors=f"argument of type '{type(arguments).__name__}' is not iterable"
                )

    def _wanted_checkpoint(self, values: Values) -> Checkpoint:
        """The checkpoint of the override if there is such a one; the original drops an unknown one without a word."""
        override = (values["override_settings"] or {}).get("sd_model_checkpoint")
        return self.checkpoints.find(override) or self.checkpoint

    def _sampler(self, values: Values) -> tuple[str, str]:
        """The sampler and the label of the scheduler; since 1.9 the first sampler in the place of an unknown one."""
        name, scheduler = catalog.find_sampler(values["sampler_name"] or values["sampler_index"], values["scheduler"])
        if name is None:
            if self.settings.unknown_sampler_status == "404" or self.settings.flavour == "sdnext":
                raise WebUiError(404, detail="Sampler not found")
            name = next(iter(catalog.SAMPLERS))
        return name, catalog.schedule_label(name, scheduler)

    async def _generate(self, kind: str, values: dict[str, Any], sources: list[Any] | None) -> web.Response:
        self._check_scripts(values, kind)
        sampler, scheduler = self._sampler(values)
        if sources is not None and values["mask"]:
            # Decoded before the turn, unlike init_images.
            await asyncio.to_thread(_decode, values["mask"])
        if max(values["batch_size"] or 1, 1) * max(values["n_iter"] or 1, 1) > MAX_IMAGES:
            raise WebUiError(500, error="MemoryError")
        prompt = values["prompt"] or ""
        struck = self.faults.take(prompt)
        answering = dict(struck)
        async with self.gpu.turn():
            with self.gpu.running(kind, prompt, struck, identifier=values["force_task_id"]) as job:
                pictures, info = await self._run(job, values, sampler, scheduler, sources)
                job.record.images = len(pictures)
                compressed: list[bytes] = []
                if self.gpu.latency.seconds_per_task is not None:
                    # The GPU's time is all that such a task takes: this machine's must not come on top.
                    compressed = await asyncio.to_thread(lambda: [generation.compress(item) for item in pictures])
        if not values["send_images"] or FaultName.ZERO_IMAGES in answering:
            pictures, compressed = [], []

        def encode() -> dict[str, Any]:
            return {
                "images": [images.to_base64(picture) for picture in compressed or map(generation.compress, pictures)],
                "parameters": self._echo(values),
                "info": info,
            }

        # The original encodes in the request's own thread, after its turn: whoever waits for the GPU begins meanwhile.
        return await self._answer(answering, await asyncio.to_thread(encode))

    @staticmethod
    def _echo(values: dict[str, Any]) -> dict[str, Any]:
        echo = dict(values)
        if "init_images" in echo and not echo["include_init_images"]:
            echo["init_images"] = echo["mask"] = None
        return echo

    async def _answer(self, struck: Struck, body: Mapping[str, Any]) -> web.Response:
        """Answers, late or wrongly where a fault says so."""
        garbage = await disturb(struck)
        return json_response(body) if garbage is None else garbage

    def _fail_if_ordered(self, struck: Struck) -> None:
        self.gpu.fail_if_ordered(struck)
        if (fault := struck.get(FaultName.ERROR)) is not None:
            raise errors.FaultAnswerError(_error_answer(fault))

    async def _run(
        self, job: Job, values: dict[str, Any], sampler: str, scheduler: str, sources: list[Any] | None
    ) -> tuple[list[Image.Image], str]:
        decoded = None if sources is None else [await asyncio.to_thread(_decode, text) for text in sources]
        job.resume()
        self.state.begin(kind_name(sources))
        try:
            failure = failures.failure_of(values, None if decoded is None else len(decoded), self.checkpoints)
            if failure is not None:
                raise failure
            checkpoint = self._wanted_checkpoint(values)
            settings = self.options | (values["override_settings"] or {})
            planned = generation.plan(
                values,
                sampler,
                scheduler,
                checkpoint,
                from_images=decoded is not None,
                clip_skip=int(settings["CLIP_stop_at_last_layers"]),
            )
            self._preview = planned
            self._fail_if_ordered(job.faults)
            await self.gpu.load(planned.checkpoint.name)
            self.gpu.allocate(memory.generation_bytes(planned.width, planned.height, planned.batch_size))
            pictures = await self._batches(job, planned, decoded[0] if decoded else None)
            if not values["override_settings_restore_afterwards"]:
                self._choose(planned.checkpoint)
            return pictures, generation.info(planned, len(pictures), self.state.job_timestamp)
        finally:
            self._preview = None
            self.state.end()

    async def _batches(self, job: Job, planned: Plan, source: Image.Image | None) -> list[Image.Image]:
        async def on_step(done: int) -> None:
            self.state.sampling_step = done

        passes = 2 if planned.second_pass_steps else 1
        self.state.job_count = passes * planned.batches
        latency = self.gpu.latency
        first = latency.step(planned.base_width, planned.base_height, planned.batch_size)
        second = latency.step(planned.width, planned.height, planned.batch_size)
        overhead = latency.overhead()
        if latency.seconds_per_task is not None:
            overhead = 0.0
            first = second = latency.seconds_per_task / (planned.batches * (planned.steps + planned.second_pass_steps))
        await job.spend(overhead)
        pictures: list[Image.Image] = []
        for batch in range(planned.batches):
            if planned.batches > 1:
                self.state.job = f"Batch {batch + 1} out of {planned.batches}"
            self.state.sample(passes * batch, planned.steps)
            if await job.steps(planned.steps, first, on_step) and passes == 2:
                self.state.sample(passes * batch + 1, planned.second_pass_steps)
                await job.steps(planned.second_pass_steps, second, on_step)
            # What an interrupted batch has got so far is decoded and returned too.
            indexes = range(batch * planned.batch_size, (batch + 1) * planned.batch_size)
            pictures += [await asyncio.to_thread(generation.draw, planned, index, source) for index in indexes]
            if job.interrupted:
                if self.state.interrupted:
                    break
                self.state.skipped = False
                job.resume()
        return pictures

    # --- upscaling

    async def extra_single_image(self, request: web.Request) -> web.Response:
        """POST extra-single-image."""
        values = await self._values(request, schema.EXTRA_SINGLE_IMAGE)
        struck, pictures = await self._upscale("extra-single-image", values, [values["image"]])
        image = await asyncio.to_thread(generation.encode, pictures[0]) if pictures else ""
        return await self._answer(struck, {"html_info": generation.upscale_info(values), "image": image})

    async def extra_batch_images(self, request: web.Request) -> web.Response:
        """POST extra-batch-images."""
        values = await self._values(request, schema.EXTRA_BATCH_IMAGES)
        items, details = [], []
        for index, item in enumerate(values["imageList"]):
            read, wrong = schema.validate(schema.BATCH_ITEM, item, ("body", "imageList", index))
            items.append(read)
            details += wrong
        if details:
            raise RequestValidationError(details)
        struck, pictures = await self._upscale("extra-batch-images", values, [item["data"] for item in items])
        encoded = await asyncio.to_thread(lambda: [generation.encode(picture) for picture in pictures])
        return await self._answer(struck, {"html_info": generation.upscale_info(values), "images": encoded})

    async def _upscale(self, kind: str, values: Values, encoded: list[str]) -> tuple[Struck, list[Image.Image]]:
        # Decoded before the turn here, unlike init_images.
        sources = [await asyncio.to_thread(_decode, text) for text in encoded]
        struck = self.faults.take("")
        answering = dict(struck)
        async with self.gpu.turn():
            with self.gpu.running(kind, "", struck) as job:
                self.state.begin("extras")
                self.state.job_count = len(sources)
                self._fail_if_ordered(struck)
                pictures = await self._upscale_each(job, values, sources)
                # Not if it fails: until the next job the original tells of the one that failed.
                self.state.end()
                job.record.images = len(pictures)
        return answering, [] if FaultName.ZERO_IMAGES in answering else pictures

    async def _upscale_each(self, job: Job, values: Values, sources: list[Image.Image]) -> list[Image.Image]:
        latency = self.gpu.latency
        pictures: list[Image.Image] = []
        self.state.job = "Upscale"
        for number, source in enumerate(sources, 1):
            self.state.job_no = number
            # The second is looked at only if there is a first.
            for key in ("upscaler_1", "upscaler_2") if values["upscaler_1"] != "None" else ():
                if values[key] not in catalog.UPSCALERS:
                    message = f"could not find upscaler named {values[key]}"
                    raise WebUiError(500, error="AssertionError", errors=message)
            size = generation.upscaled_size(values, *source.size)
            if min(size) < 1:
                raise WebUiError(500, error="ValueError", errors="height and width must be > 0")
            if number == 1 or size != generation.upscaled_size(values, *sources[number - 2].size):
                self.gpu.allocate(memory.upscale_bytes(*size))
            await job.steps(1, latency.task_seconds(latency.upscale(*size)) / len(sources))
            pictures.append(await asyncio.to_thread(generation.upscale, source, size))
            if job.interrupted:
                break
        return pictures

    # --- what acts on the running job: no turn is taken

    async def interrupt(self, request: web.Request) -> web.Response:
        """POST interrupt: ends whatever runs, and nothing that waits."""
        self.state.interrupted = True
        if self.gpu.job is not None:
            self.gpu.job.interrupt()
        return json_response({})

    async def skip(self, request: web.Request) -> web.Response:
        """POST skip: goes on with the next batch."""
        self.state.skipped = True
        if self.gpu.job is not None:
            self.gpu.job.interrupt()
        return json_response(None)

    async def progress(self, request: web.Request) -> web.Response:
        """GET progress: of whatever runs."""
        query, details = schema.validate(schema.PROGRESS, dict(request.query), ("query",))
        if details:
            raise RequestValidationError(details)
        share, eta = self.state.progress()
        preview = None
        if self._preview is not None and not query["skip_current_image"] and self.state.sampling_step > 0:
            image = images.render(PREVIEW_PIXELS, PREVIEW_PIXELS, f"preview {self.state.sampling_step}", "")
            preview = images.to_base64(images.encode_png(image))
        return json_response(
            {
                "progress": share,
                "eta_relative": eta,
                "state": self.state.describe(),
                "current_image": preview,
                "textinfo": None,
            }
        )

    async def memory(self, request: web.Request) -> web.Response:
        """GET memory."""
        total, used = self.gpu.total_bytes, self.gpu.bytes_in_use
        usage = {"current": used, "peak": used}
        ooms = sum(number for (_, outcome), number in self.gpu.outcomes.items() if outcome == "out-of-memory")
        return json_response(
            {
                "ram": {"free": 16 * memory.GIB, "used": 16 * memory.GIB, "total": 32 * memory.GIB},
                "cuda": {
                    "system": {"free": total - used, "used": used, "total": total},
                    "active": usage,
                    "allocated": usage,
                    "reserved": usage,
                    "inactive": {"current": 0, "peak": 0},
                    "events": {"retries": 0, "oom": ooms},
                },
            }
        )

    # --- checkpoints and settings

    async def get_options(self, request: web.Request) -> web.Response:
        """GET options."""
        return json_response(self.options)

    async def set_options(self, request: web.Request) -> web.Response:
        """POST options; a change of checkpoint waits for its turn, as the original's change hook takes the lock."""
        body = await self._json(request)
        if not isinstance(body, dict):
            if body != []:
                raise RequestValidationError(schema.validate(schema.OPTIONS, body)[1])
            body = {}
        checkpoint = self.checkpoint
        if (name := body.get("sd_model_checkpoint")) is not None:
            found = self.checkpoints.find(name)
            if found is None:
                raise WebUiError(500, error="RuntimeError", errors=f"model {name!r} not found")
            checkpoint = found
        changed = checkpoint is not self.checkpoint
        self.options.update(body)
        self._choose(checkpoint)
        if changed:
            async with self.gpu.turn():
                await self.gpu.load(self.checkpoint.name)
        return json_response(None)

    def _choose(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.options |= {"sd_model_checkpoint": checkpoint.title, "sd_checkpoint_hash": checkpoint.sha256}

    async def sd_models(self, request: web.Request) -> web.Response:
        """GET sd-models."""
        return json_response([checkpoint.describe() for checkpoint in self.checkpoints.all])

    async def refresh(self, request: web.Request) -> web.Response:
        """POST refresh-…: takes a turn and finds nothing new."""
        async with self.gpu.turn():
            return json_response(None)

    async def unload_checkpoint(self, request: web.Request) -> web.Response:
        """POST unload-checkpoint: the next task loads it again."""
        self.gpu.model = None
        return json_response({})

    async def reload_checkpoint(self, request: web.Request) -> web.Response:
        """POST reload-checkpoint."""
        await self.gpu.load(self.checkpoint.name)
        return json_response({})

    # --- pictures, without the GPU or nearly so

    async def png_info(self, request: web.Request) -> web.Response:
        """POST png-info."""
        values = await self._values(request, schema.PNG_INFO)
        image = await asyncio.to_thread(_decode, values["image"].strip())
        text = str(image.info.get("parameters", ""))
        items = {key: value for key, value in image.info.items() if isinstance(value, str | int | float)}
        return json_response({"info": text, "items": items, "parameters": listings.parse_infotext(text)})

    async def interrogate(self, request: web.Request) -> web.Response:
        """POST interrogate: describes every image alike."""
        values = await self._values(request, schema.INTERROGATE)
        if values["model"] not in {"clip", "deepdanbooru"}:
            raise WebUiError(404, detail="Model not found")
        image = await asyncio.to_thread(_decode, values["image"])
        async with self.gpu.turn():
            return json_response({"caption": f"a picture of {image.width} by {image.height} pixels"})


def kind_name(sources: list[Any] | None) -> str:
    """What ``state.job`` says of a task that came by the API (upstream ``modules/api/api.py``, ``state.begin``)."""
    return "scripts_txt2img" if sources is None else "scripts_img2img"
