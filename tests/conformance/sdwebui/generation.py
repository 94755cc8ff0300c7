"""How SD Web UI generates, upscales and reads images."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from tests.conformance.case import Mark, NotApplicableError, case, check
from tests.conformance.comfyui.client import png
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.sdwebui.refusals import own
from tests.conformance.shapes import ANY, Each

_MODEL = Mark.NEEDS_MODEL


def _encoded() -> str:
    return base64.b64encode(png(120, 64)).decode()


def _pngs(images: list[str]) -> list[bool]:
    return [base64.b64decode(image).startswith(b"\x89PNG") for image in images]


@case("txt2img answers images as base64, the request's echo, and info as JSON inside a string", _MODEL)
async def text_to_image(server: SdWebUi) -> None:
    answer = await server.generate()
    check("POST txt2img", {"images": [str], "parameters": SMALL, "info": str}, answer)
    check("the image is a PNG", [True], _pngs(answer["images"]))
    shape: dict[str, Any] = {
        "prompt": "a dog",
        "all_prompts": ["a dog"],
        "seed": 7,
        "all_seeds": [7],
        "width": 64,
        "height": 64,
        "steps": 2,
        "batch_size": 1,
        "cfg_scale": float,
        "sampler_name": str,
        "sd_model_hash": ANY,
        "index_of_first_image": 0,
        "infotexts": Each(str, least=1),
        "job_timestamp": str,
        "clip_skip": int,
    }
    check("info", shape, json.loads(answer["info"]))


@case("a picture of usual size and quality is made", _MODEL, Mark.NEEDS_GPU)
async def usual_picture(server: SdWebUi) -> None:
    (image,) = (await server.generate(steps=20, width=512, height=512))["images"]
    data = base64.b64decode(image)
    check("width and height", [512, 512], [int.from_bytes(data[16:20]), int.from_bytes(data[20:24])])


@case("batch_size times n_iter images come, with seeds that count up", _MODEL)
async def batches(server: SdWebUi) -> None:
    answer = await server.generate(batch_size=2, n_iter=2)
    info = json.loads(answer["info"])
    first = info["index_of_first_image"]
    check("how many images", 4, len(answer["images"]) - first)
    check("the seeds", [7, 8, 9, 10], info["all_seeds"])


@case("a seed of -1 is drawn, and told", _MODEL)
async def drawn_seed(server: SdWebUi) -> None:
    check("the seed", True, json.loads((await server.generate(seed=-1))["info"])["seed"] >= 0)


@case("send_images: false answers without images", _MODEL)
async def no_images_sent(server: SdWebUi) -> None:
    check("POST txt2img", {"images": [], "info": str}, await server.generate(send_images=False))


@case("img2img keeps the inputs out of its echo", _MODEL)
async def image_to_image(server: SdWebUi) -> None:
    answer = await server.generate("img2img", init_images=[_encoded()])
    check("POST img2img", {"images": [str], "parameters": {"init_images": None, "mask": None}}, answer)


@case("img2img with include_init_images has them in its echo", _MODEL)
async def inputs_in_the_echo(server: SdWebUi) -> None:
    answer = await server.generate("img2img", init_images=[_encoded()], include_init_images=True)
    check("the echo", [_encoded()], answer["parameters"]["init_images"])


@case("override_settings with an unknown checkpoint is 200 with the loaded one", _MODEL)
async def unknown_checkpoint_in_a_request(server: SdWebUi) -> None:
    known = json.loads((await server.generate())["info"]).get("sd_model_name")
    answer = await server.generate(override_settings={"sd_model_checkpoint": "no-such-model"})
    check("the model used", known, json.loads(answer["info"]).get("sd_model_name"))


@case("extra-single-image answers one image and html_info")
async def extra_single_image(server: SdWebUi) -> None:
    reply = await server.call("extra-single-image", {"image": _encoded(), "upscaler_1": "None"})
    check("POST extra-single-image", {"status": 200, "body": {"html_info": str, "image": str}}, reply.shown())
    data = base64.b64decode(reply.body["image"])
    check("the width", 64, int.from_bytes(data[16:20]))


@case("extra-batch-images answers as many images, in their order")
async def extra_batch_images(server: SdWebUi) -> None:
    items = [{"data": _encoded(), "name": name} for name in ("a.png", "b.png")]
    reply = await server.call("extra-batch-images", {"imageList": items})
    check("POST extra-batch-images", {"status": 200, "body": {"html_info": str, "images": [str, str]}}, reply.shown())


@case("png-info reads back the parameters of a generated image", _MODEL)
async def png_info(server: SdWebUi) -> None:
    answer = await server.generate()
    reply = await server.call("png-info", {"image": f"data:image/png;base64,{answer['images'][0]}"})
    check("POST png-info", {"status": 200, "body": {"info": str, "items": dict}}, reply.shown())
    check("it names the seed", True, "Seed: 7" in reply.body["info"])


@case("an unknown sampler is replaced by the first of the list; up to 1.8 it is 404", _MODEL)
async def unknown_sampler(server: SdWebUi) -> None:
    reply = await server.call("txt2img", {**SMALL, "sampler_name": "No Such"})
    if reply.status == 404:
        check("POST txt2img", own("Sampler not found"), reply.body)
        return
    check("POST txt2img", 200, reply.status)
    first = (await server.get("/sdapi/v1/samplers"))[0]["name"]
    check("the sampler", first, json.loads(reply.body["info"])["sampler_name"])


@case("the scheduler may be the end of the sampler's name, as it was up to 1.8", _MODEL)
async def scheduler_in_the_name(server: SdWebUi) -> None:
    info = json.loads((await server.generate(sampler_name="DPM++ 2M Karras"))["info"])
    check("the sampler", re.compile(r"DPM\+\+ 2M( Karras)?"), info["sampler_name"])


@case("sizes are cut to whole eighths, and told as they were asked for", _MODEL)
async def odd_sizes(server: SdWebUi) -> None:
    answer = await server.generate(width=70, height=65)
    data = base64.b64decode(answer["images"][0])
    check("width and height", [64, 64], [int.from_bytes(data[16:20]), int.from_bytes(data[20:24])])
    check("info", {"width": 70, "height": 65}, json.loads(answer["info"]))


@case("upscaled sizes are cut to whole eighths; an upscale to a box without a crop covers it")
async def upscaled_sizes(server: SdWebUi) -> None:
    for request, size in (
        ({"upscaling_resize": 3.3}, [208, 208]),
        ({"upscaling_resize": 0.5}, [32, 32]),
        ({"resize_mode": 1, "upscaling_resize_w": 128, "upscaling_resize_h": 64}, [128, 64]),
        ({"resize_mode": 1, "upscaling_resize_w": 128, "upscaling_resize_h": 64, "upscaling_crop": False}, [128, 128]),
    ):
        reply = await server.call("extra-single-image", {"image": _encoded(), "upscaler_1": "Lanczos", **request})
        check("POST extra-single-image", 200, reply.status)
        data = base64.b64decode(reply.body["image"])
        check(f"width and height of {request}", size, [int.from_bytes(data[16:20]), int.from_bytes(data[20:24])])


@case("an overridden setting lasts for one request", _MODEL)
async def override_of_a_setting(server: SdWebUi) -> None:
    settings: tuple[dict[str, int], ...] = ({}, {"CLIP_stop_at_last_layers": 2}, {})
    answers = [await server.generate(override_settings=override) for override in settings]
    skips = [json.loads(answer["info"])["clip_skip"] for answer in answers]
    check("the clip skip of three requests, the second of which asks for 2", [skips[0], 2, skips[0]], skips)


@case("a request's override of the checkpoint lasts for one request", _MODEL)
async def override_of_the_checkpoint(server: SdWebUi) -> None:
    models = await server.get("/sdapi/v1/sd-models")
    before = (await server.get("/sdapi/v1/options"))["sd_model_checkpoint"]
    others = [model for model in models if before and model["title"] != before]
    if not others:
        raise NotApplicableError("the server has one checkpoint only")
    answer = await server.generate(override_settings={"sd_model_checkpoint": others[0]["title"]})
    check("the model used", others[0]["model_name"], json.loads(answer["info"])["sd_model_name"])
    check("the option", before, (await server.get("/sdapi/v1/options"))["sd_model_checkpoint"])
