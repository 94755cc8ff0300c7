"""SD Web UI: what generation answers."""

import asyncio
import io
import json
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from fake_runtime.sdwebui import generation, listings
from tests.support.workflows import CHECKPOINT
from tests.unit.fake_runtime.support import OTHER_CHECKPOINT, Server, decode, encode, serving, until


async def test_text_becomes_a_picture_with_its_parameters(webui: Server) -> None:
    answer = await webui.generate(prompt="a dog", steps=16, width=256, height=128, seed=7)
    assert set(answer) == {"images", "parameters", "info"}
    (image,) = (decode(text) for text in answer["images"])
    assert image.size == (256, 128)
    assert image.info["parameters"].startswith(
        "a dog\nSteps: 16, Sampler: Euler, Schedule type: Automatic, CFG scale: 7.0, Seed: 7, Size: 256x128"
    )
    info = json.loads(answer["info"])
    assert info["infotexts"] == [image.info["parameters"]]
    assert (info["seed"], info["all_seeds"], info["sd_model_name"]) == (7, [7], "v1-5-pruned-emaonly")


async def test_info_has_every_documented_field(webui: Server) -> None:
    info = json.loads((await webui.generate())["info"])
    expected = """prompt all_prompts negative_prompt all_negative_prompts seed all_seeds subseed all_subseeds
        subseed_strength width height sampler_name cfg_scale steps batch_size restore_faces face_restoration_model
        sd_model_name sd_model_hash
        sd_vae_name sd_vae_hash seed_resize_from_w seed_resize_from_h denoising_strength extra_generation_params
        index_of_first_image infotexts styles job_timestamp clip_skip is_using_inpainting_conditioning version"""
    assert set(info) == set(expected.split())


async def test_the_request_is_echoed_with_its_defaults(webui: Server) -> None:
    echo = (await webui.post("/sdapi/v1/txt2img", {"prompt": "x", "steps": "16", "unknown": 1}))["parameters"]
    assert (echo["steps"], echo["width"], echo["cfg_scale"], echo["seed"], echo["sampler_index"]) == (
        16,
        512,
        7.0,
        -1,
        "Euler",
    )
    assert "unknown" not in echo


async def test_equal_requests_give_equal_pictures_and_other_seeds_others(webui: Server) -> None:
    answers = [await webui.generate(seed=seed, width=64, height=64) for seed in (1, 1, 2)]
    assert answers[0]["images"] == answers[1]["images"] != answers[2]["images"]


async def test_a_random_seed_is_reported_and_repeats_the_picture(webui: Server) -> None:
    first = await webui.generate(width=64, height=64)
    seed = json.loads(first["info"])["seed"]
    assert seed >= 0
    assert first["images"] == (await webui.generate(width=64, height=64, seed=seed))["images"]


async def test_batches_give_a_picture_per_seed(webui: Server) -> None:
    answer = await webui.generate(batch_size=2, n_iter=2, seed=10, width=64, height=64)
    assert json.loads(answer["info"])["all_seeds"] == [10, 11, 12, 13]
    assert len(set(answer["images"])) == 4


async def test_pictures_can_be_left_out(webui: Server) -> None:
    assert (await webui.generate(send_images=False))["images"] == []


async def test_sizes_are_whole_latents_and_hires_enlarges(webui: Server) -> None:
    small = decode((await webui.generate(width=70, height=65))["images"][0])
    assert small.size == (64, 64)
    answer = await webui.generate(width=64, height=64, enable_hr=True, hr_scale=1.5, denoising_strength=0.5)
    assert decode(answer["images"][0]).size == (96, 96)
    assert json.loads(answer["info"])["extra_generation_params"]["Hires upscale"] == 1.5


async def test_image_to_image_shows_its_source_as_denoising_allows(webui: Server) -> None:
    source = encode(Image.new("RGB", (64, 64), (255, 0, 0)))
    redness = []
    for strength in (0.1, 0.9):
        answer = await webui.generate(
            "img2img", init_images=[source], width=64, height=64, denoising_strength=strength, seed=1, prompt=""
        )
        image = decode(answer["images"][0]).resize((1, 1), Image.Resampling.BOX)
        red, green, _ = image.getpixel((0, 0))  # type: ignore[misc]
        redness.append(red - green)
        assert answer["parameters"]["init_images"] is None
    assert redness[0] > redness[1] > 0


async def test_the_source_is_echoed_when_asked_for(webui: Server) -> None:
    source = encode(Image.new("RGB", (8, 8)))
    answer = await webui.generate("img2img", init_images=[source], include_init_images=True, width=64, height=64)
    assert answer["parameters"]["init_images"] == [source]


@pytest.mark.parametrize(
    ("request_", "size"),
    [
        ({"upscaling_resize": 4, "upscaler_1": "R-ESRGAN 4x+"}, (128, 64)),
        ({"upscaler_1": "Lanczos"}, (64, 32)),
        ({}, (32, 16)),
        ({"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 90, "upscaler_1": "Nearest"}, (100, 90)),
        (
            {
                "resize_mode": 1,
                "upscaling_resize_w": 96,
                "upscaling_resize_h": 96,
                "upscaling_crop": False,
                "upscaler_1": "Nearest",
            },
            (192, 96),
        ),
        ({"upscaling_resize": 3.3, "upscaler_1": "Nearest"}, (104, 48)),
    ],
)
async def test_upscaling_enlarges(webui: Server, request_: dict[str, Any], size: tuple[int, int]) -> None:
    answer = await webui.post("/sdapi/v1/extra-single-image", {"image": encode(Image.new("RGB", (32, 16))), **request_})
    assert set(answer) == {"html_info", "image"}
    assert decode(answer["image"]).size == size


async def test_several_images_are_upscaled_together(webui: Server) -> None:
    images = [{"data": encode(Image.new("RGB", (size, size))), "name": str(size)} for size in (8, 16)]
    answer = await webui.post("/sdapi/v1/extra-batch-images", {"imageList": images, "upscaler_1": "Nearest"})
    assert [decode(text).size for text in answer["images"]] == [(16, 16), (32, 32)]


async def test_png_info_reads_what_generation_wrote(webui: Server) -> None:
    image = (await webui.generate(prompt="a dog\nin a house", negative_prompt="cat", seed=3))["images"][0]
    answer = await webui.post("/sdapi/v1/png-info", {"image": image})
    assert answer["parameters"]["Prompt"] == "a dog\nin a house"
    assert answer["parameters"]["Negative prompt"] == "cat"
    assert answer["parameters"]["Seed"] == "3"
    assert answer["items"]["parameters"] == answer["info"]
    assert await webui.post("/sdapi/v1/png-info", {"image": encode(Image.new("RGB", (4, 4)))}) == {
        "info": "",
        "items": {},
        "parameters": {},
    }


def test_an_infotext_without_settings_is_all_prompt() -> None:
    assert listings.parse_infotext("just words") == {"Prompt": "just words", "Negative prompt": ""}


# --- checkpoints


async def test_an_override_uses_another_checkpoint_for_one_task(webui: Server) -> None:
    async def model(**override: str) -> str:
        info = json.loads((await webui.generate(width=64, height=64, override_settings=override))["info"])
        return str(info["sd_model_name"])

    assert await model(sd_model_checkpoint=OTHER_CHECKPOINT) == "sd_xl_base_1.0"
    assert await model() == "v1-5-pruned-emaonly"


async def test_an_override_stays_when_it_is_not_to_be_restored(webui: Server) -> None:
    override = {"sd_model_checkpoint": OTHER_CHECKPOINT}
    await webui.generate(width=64, height=64, override_settings=override, override_settings_restore_afterwards=False)
    assert OTHER_CHECKPOINT in (await webui.get("/sdapi/v1/options"))["sd_model_checkpoint"]
    assert json.loads((await webui.generate(width=64, height=64))["info"])["sd_model_name"] == "sd_xl_base_1.0"


async def test_eight_mebibytes_of_base64_are_read(webui: Server) -> None:
    noise = Image.effect_noise((2200, 1200), 100)
    source = encode(Image.merge("RGB", [noise, noise.rotate(180), noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]))
    assert len(source) > 8 * 2**20
    body = io.BytesIO(json.dumps({"init_images": [source], "width": 64, "height": 64}).encode())
    headers = {"Content-Type": "application/json"}
    status, answer = await webui.send("POST", "/sdapi/v1/img2img", data=body, headers=headers)
    assert (status, len(answer["images"])) == (200, 1)


async def test_an_unknown_override_is_dropped_without_a_word(webui: Server) -> None:
    answer = await webui.generate(override_settings={"sd_model_checkpoint": "nope"}, width=64, height=64)
    assert json.loads(answer["info"])["sd_model_name"] == "v1-5-pruned-emaonly"


@pytest.mark.parametrize("form", ["title", "model_name", "hash", "name"])
async def test_options_switch_the_checkpoint_by_any_of_its_names(webui: Server, form: str) -> None:
    entry = (await webui.get("/sdapi/v1/sd-models"))[1]
    name = OTHER_CHECKPOINT if form == "name" else entry[form]
    assert await webui.post("/sdapi/v1/options", {"sd_model_checkpoint": name}) is None
    assert (await webui.get("/sdapi/v1/options"))["sd_model_checkpoint"] == entry["title"]
    assert webui.gpu.model == OTHER_CHECKPOINT


async def test_other_options_are_kept(webui: Server) -> None:
    await webui.post("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 2})
    assert (await webui.get("/sdapi/v1/options"))["CLIP_stop_at_last_layers"] == 2


async def test_unloading_and_reloading_move_video_memory() -> None:
    async with serving(models=CHECKPOINT) as webui:

        async def used() -> int:
            return int((await webui.get("/sdapi/v1/memory"))["cuda"]["system"]["used"])

        assert await used() > 0
        assert await webui.post("/sdapi/v1/unload-checkpoint", None) == {}
        assert await used() == 0
        assert await webui.post("/sdapi/v1/reload-checkpoint", None) == {}
        assert await used() > 0


async def test_a_model_switch_takes_the_time_of_its_size() -> None:
    async with serving(latency=0.02) as webui:
        await webui.generate(width=64, height=64, steps=1, override_settings={"sd_model_checkpoint": OTHER_CHECKPOINT})
        (seconds,) = (job["duration"] for job in await webui.jobs())
    assert seconds > 0.02 * 6.5 * 0.9


# --- time


async def test_a_fixed_time_per_task_holds_for_every_request() -> None:
    async with serving(latency=1.0, seconds_per_task=0.1) as webui:
        await asyncio.gather(
            webui.generate(width=64, height=64, steps=1),
            webui.generate(
                width=512, height=512, steps=30, override_settings={"sd_model_checkpoint": OTHER_CHECKPOINT}
            ),
        )
        jobs = await webui.jobs()
    assert len(jobs) == 2
    assert all(0.099 <= job["duration"] < 3 for job in jobs)


async def test_requests_wait_their_turn_in_order_of_arrival() -> None:
    async with serving(seconds_per_task=0.03) as webui:
        ended: list[int] = []

        async def ask(number: int) -> None:
            await webui.generate(prompt=str(number), width=64, height=64)
            ended.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(ask(number))
                await asyncio.sleep(0.004)
        assert ended == [0, 1, 2, 3]
        spans = [(job["started"], job["finished"]) for job in await webui.jobs()]
    assert all(before[1] <= after[0] + 1e-3 for before, after in pairwise(spans))


async def test_a_client_that_hangs_up_does_not_stop_its_generation() -> None:
    async with serving(seconds_per_task=0.1) as webui:
        request = asyncio.create_task(webui.generate(width=64, height=64))
        await webui.running()
        request.cancel()
        await until(lambda: webui.gpu.job is None, "the end of the job")
        assert [job["outcome"] for job in await webui.jobs()] == ["succeeded"]


# --- progress, interrupt, skip


async def test_progress_tells_of_whatever_runs() -> None:
    async with serving(seconds_per_task=5) as webui:
        idle = await webui.get("/sdapi/v1/progress")
        assert (idle["progress"], idle["eta_relative"], idle["current_image"], idle["textinfo"]) == (0, 0, None, None)
        request = asyncio.create_task(webui.generate(steps=1000, width=64, height=64))
        await webui.running()
        await until(lambda: webui.gpu.busy_seconds > 0.05, "some steps")
        busy = await webui.get("/sdapi/v1/progress")
        assert 0 < busy["progress"] < 1
        assert busy["eta_relative"] > 0
        assert busy["state"]["sampling_steps"] == 1000
        assert busy["state"]["sampling_step"] > 0
        assert decode(busy["current_image"]).size == (64, 64)
        assert (await webui.get("/sdapi/v1/progress?skip_current_image=true"))["current_image"] is None
        await webui.post("/sdapi/v1/interrupt", None)
        await request


async def test_an_interrupt_ends_the_running_task_with_200_and_what_there_is() -> None:
    async with serving(seconds_per_task=30) as webui:
        running = asyncio.create_task(webui.generate(n_iter=5, width=64, height=64))
        await webui.running()
        assert await webui.post("/sdapi/v1/interrupt", None) == {}
        answer = await running
        assert len(answer["images"]) == 1
        assert [job["outcome"] for job in await webui.jobs()] == ["interrupted"]


async def test_an_interrupt_does_nothing_to_what_waits() -> None:
    async with serving(seconds_per_task=0.2) as webui:
        first = asyncio.create_task(webui.generate(width=64, height=64))
        await webui.running()
        second = asyncio.create_task(webui.generate(width=64, height=64))
        await webui.post("/sdapi/v1/interrupt", None)
        await asyncio.gather(first, second)
        assert [job["outcome"] for job in await webui.jobs()] == ["interrupted", "succeeded"]


async def test_an_interrupt_while_idle_does_not_touch_the_next_task(webui: Server) -> None:
    await webui.post("/sdapi/v1/interrupt", None)
    assert len((await webui.generate(width=64, height=64, n_iter=2))["images"]) == 2


async def test_skip_goes_on_with_the_next_batch() -> None:
    async with serving(seconds_per_task=1) as webui:
        running = asyncio.create_task(webui.generate(n_iter=2, width=64, height=64))
        await webui.running()
        assert await webui.post("/sdapi/v1/skip", None) is None
        assert len((await running)["images"]) == 2
        (job,) = await webui.jobs()
    assert job["outcome"] == "succeeded"
    assert 0.5 <= job["duration"] < 0.95


# --- listings


LISTS = "samplers upscalers latent-upscale-modes sd-models sd-vae hypernetworks face-restorers realesrgan-models"


@pytest.mark.parametrize("name", [*LISTS.split(), "schedulers", "loras", "prompt-styles", "script-info", "extensions"])
async def test_lists_are_lists(webui: Server, name: str) -> None:
    assert isinstance(await webui.get(f"/sdapi/v1/{name}"), list)


async def test_list_entries_have_the_documented_fields(webui: Server) -> None:
    for name, fields in {
        "samplers": {"name", "aliases", "options"},
        "upscalers": {"name", "model_name", "model_path", "model_url", "scale"},
        "sd-models": {"title", "model_name", "hash", "sha256", "filename", "config"},
    }.items():
        assert {frozenset(entry) for entry in await webui.get(f"/sdapi/v1/{name}")} == {frozenset(fields)}


async def test_the_seeds_upscalers_are_there(webui: Server) -> None:
    names = {entry["name"] for entry in await webui.get("/sdapi/v1/upscalers")}
    assert {"Lanczos", "Nearest", "4x-UltraSharp", "ESRGAN_4X", "LDSR", "R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B"} <= names
    assert {"ScuNET GAN", "ScuNET PSNR", "SwinIR 4x"} <= names


@pytest.mark.parametrize("name", ["refresh-checkpoints", "refresh-embeddings", "refresh-vae"])
async def test_refreshing_answers_null(webui: Server, name: str) -> None:
    assert await webui.post(f"/sdapi/v1/{name}", None) is None


async def test_scripts_flags_and_memory_have_their_shapes(webui: Server) -> None:
    assert set(await webui.get("/sdapi/v1/scripts")) == {"txt2img", "img2img"}
    assert (await webui.get("/sdapi/v1/cmd-flags"))["api"] is True
    memory = await webui.get("/sdapi/v1/memory")
    assert set(memory["ram"]) == {"free", "used", "total"}
    assert set(memory["cuda"]) == {"system", "active", "allocated", "reserved", "inactive", "events"}
    caption = await webui.post("/sdapi/v1/interrogate", {"image": encode(Image.new("RGB", (4, 4)))})
    assert caption["caption"]


@pytest.mark.parametrize(
    ("request_", "sampler", "schedule"),
    [
        ({}, "Euler", "Automatic"),
        ({"sampler_name": "No Such"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "k_euler_a"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "DPM++ 2M SGMUniform"}, "DPM++ 2M", "SGM Uniform"),
        ({"sampler_name": "Euler a", "scheduler": "Karras"}, "Euler a", "Karras"),
        ({"sampler_name": "Euler", "scheduler": "No Such"}, "Euler", "Automatic"),
    ],
)
async def test_a_sampler_is_found_as_the_original_finds_it(
    webui: Server, request_: dict[str, Any], sampler: str, schedule: str
) -> None:
    info = json.loads((await webui.generate(width=64, height=64, **request_))["info"])
    assert info["sampler_name"] == sampler
    assert f"Sampler: {sampler}, Schedule type: {schedule}, " in info["infotexts"][0]
    assert info["version"] == generation.VERSION
