"""ComfyUI: the routes, their answers and their refusals."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fake_runtime.comfyui import routes
from fake_runtime.comfyui.files import Files, OutsideFolderError
from tests.support.workflows import CHECKPOINT, diffusion, plain
from tests.unit.fake_runtime.support import Server, named_id, serving

SERVER_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"


def png(color: str = "red") -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


# --- what there is


async def test_system_stats_have_the_observed_shape(comfyui: Server) -> None:
    stats = await comfyui.get("/system_stats")
    assert set(stats["system"]) == {
        *("os", "ram_total", "ram_free", "comfyui_version", "required_frontend_version", "python_version"),
        *("installed_templates_version", "required_templates_version", "pytorch_version", "embedded_python", "argv"),
        *("comfy_package_versions", "deploy_environment"),
    }
    (device,) = stats["devices"]
    assert set(device) == {"name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free"}
    assert device["vram_total"] == 24 * 1024**3


async def test_small_answers_are_the_observed_ones(comfyui: Server) -> None:
    assert await comfyui.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert await comfyui.get("/prompt") == {"exec_info": {"queue_remaining": 0}}
    assert await comfyui.get("/features") == {
        "supports_preview_metadata": True,
        "supports_model_type_tags": True,
        "max_upload_size": 104857600,
        "extension": {"manager": {"supports_v4": True}},
        "node_replacements": True,
        "assets": False,
    }
    assert "checkpoints" in await comfyui.get("/models")
    assert CHECKPOINT in await comfyui.get("/models/checkpoints")
    assert await comfyui.get("/models/loras") == []
    assert (await comfyui.send("GET", "/models/nothing"))[0] == 404
    assert await comfyui.get("/history/unknown") == {}
    assert await comfyui.get("/object_info/NoSuchNode") == {}


async def test_object_info_describes_every_node(comfyui: Server) -> None:
    everything = await comfyui.get("/object_info")
    fields = {
        *("input", "input_order", "output", "output_is_list", "output_name", "name", "display_name", "description"),
        *("python_module", "category", "output_node"),
    }
    for name, node in everything.items():
        assert set(node) == fields
        assert node["name"] == name
        assert len(node["output"]) == len(node["output_name"]) == len(node["output_is_list"])
        assert {kind: list(specs) for kind, specs in node["input"].items()} == node["input_order"]
    assert everything["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0][0] == CHECKPOINT
    assert (await comfyui.get("/object_info/KSampler"))["KSampler"] == everything["KSampler"]
    assert everything["SaveImage"]["output_node"]


@pytest.mark.parametrize("path", ["/interrupt", "/queue", "/free", "/history"])
async def test_commands_answer_with_nothing_at_all(comfyui: Server, path: str) -> None:
    async with comfyui.session.post(comfyui.url + path, json={}) as response:
        assert (response.status, await response.read()) == (200, b"")
        assert "Content-Type" not in response.headers


# --- queueing


async def test_a_prompt_may_bring_its_id_number_and_place() -> None:
    async with serving(type="comfyui", seconds_per_task=30) as comfyui:
        first = await comfyui.post("/prompt", {"prompt": plain("a"), "prompt_id": named_id("mine")})
        assert first == {"prompt_id": named_id("mine"), "number": 0, "node_errors": {}}
        await comfyui.running()
        assert (await comfyui.post("/prompt", {"prompt": plain("b")}))["number"] == 1
        assert (await comfyui.post("/prompt", {"prompt": plain("c"), "front": True}))["number"] == -2
        assert (await comfyui.post("/prompt", {"prompt": plain("d"), "number": 1.5}))["number"] == 1.5
        assert (await comfyui.post("/prompt", {"prompt": plain("e")}))["number"] == 3
        queue = await comfyui.get("/queue")
        assert [item[1] for item in queue["queue_running"]] == [named_id("mine")]
        assert sorted(item[0] for item in queue["queue_pending"]) == [-2, 1, 1.5, 3]
        assert queue["queue_pending"][0][0] == -2
        assert len(queue["queue_pending"][0]) == 5
        assert await comfyui.get("/prompt") == {"exec_info": {"queue_remaining": 5}}


async def test_waiting_prompts_run_by_number() -> None:
    async with serving(type="comfyui", seconds_per_task=0.02) as comfyui:
        await comfyui.queue(plain("first"))
        await comfyui.running()
        for number, name in ((7, "c"), (5, "a"), (6, "b")):
            await comfyui.queue(plain(name), number=number, prompt_id=named_id(name))
        await comfyui.finished(named_id("c"))
        assert [job["id"] for job in await comfyui.jobs()][1:] == [named_id(name) for name in "abc"]


async def test_waiting_prompts_can_be_deleted_and_leave_no_trace() -> None:
    async with serving(type="comfyui", seconds_per_task=0.1) as comfyui:
        running = await comfyui.queue(plain("a"))
        await comfyui.running()
        deleted, kept = await comfyui.queue(plain("b")), await comfyui.queue(plain("c"))
        body = {"delete": [deleted, running, "unknown"]}
        assert await comfyui.send("POST", "/queue", json=body) == (200, "")
        await comfyui.finished(kept)
        assert (await comfyui.finished(running))["status"]["completed"]
        assert await comfyui.get(f"/history/{deleted}") == {}


async def test_the_queue_can_be_cleared_but_for_what_runs() -> None:
    async with serving(type="comfyui", seconds_per_task=0.1) as comfyui:
        running = await comfyui.queue(plain("a"))
        await comfyui.running()
        await comfyui.queue(plain("b"))
        await comfyui.send("POST", "/queue", json={"clear": True})
        assert (await comfyui.get("/queue"))["queue_pending"] == []
        await comfyui.finished(running)


async def test_the_same_id_twice_runs_twice_and_history_keeps_the_later() -> None:
    async with serving(type="comfyui", seconds_per_task=0.02) as comfyui:
        twin = named_id("twin")
        await comfyui.queue(plain("a"), prompt_id=twin)
        await comfyui.queue(plain("b"), prompt_id=twin)
        last = await comfyui.queue(plain("c"))
        await comfyui.finished(last)
        assert len(await comfyui.get("/history")) == 2
        assert (await comfyui.get(f"/history/{twin}"))[twin]["outputs"]["3"]["images"][0]["filename"].startswith("b_")
        assert [job["id"] for job in await comfyui.jobs()][:2] == [twin, twin]


async def test_history_is_cut_deleted_and_cleared(comfyui: Server) -> None:
    ids = [await comfyui.queue(plain(name)) for name in "abcd"]
    await comfyui.finished(ids[3])
    assert list(await comfyui.get("/history")) == ids
    assert list(await comfyui.get("/history?max_items=2")) == ids[2:]
    assert list(await comfyui.get("/history?max_items=2&offset=1")) == ids[1:3]
    await comfyui.send("POST", "/history", json={"delete": [ids[0], "unknown"]})
    assert await comfyui.get(f"/history/{ids[0]}") == {}
    await comfyui.send("POST", "/history", json={"clear": True})
    assert await comfyui.get("/history") == {}


async def test_only_wanted_outputs_run(comfyui: Server) -> None:
    prompt = plain("a").node("4", "PreviewImage", images=["1", 0])
    prompt_id = await comfyui.queue(prompt, partial_execution_targets=["4"])
    assert set((await comfyui.finished(prompt_id))["outputs"]) == {"4"}


# --- bodies that are refused


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 500),
        (b"{", 500),
        (b"null", 500),
        (b"7", 500),
        (b'"prompt"', 500),
        (b'{"prompt": null}', 500),
        (b'{"prompt": "text"}', 500),
        (b'{"prompt": [1]}', 500),
        (b'{"prompt": {"1": 7}}', 500),
        (b'{"prompt": {}, "number": "abc"}', 500),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"prompt": {}}', 400),
        (b'{"prompt": []}', 500),
        (b'{"prompt": {"1": {"class_type": "EmptyImage"}}, "extra_data": null}', 400),
    ],
)
async def test_malformed_prompts_fail_as_the_original_fails(comfyui: Server, data: bytes, status: int) -> None:
    got, body = await comfyui.send("POST", "/prompt", data=data)
    assert got == status
    if status == 500:
        assert body == SERVER_ERROR
    else:
        kind = "prompt_no_outputs" if b"prompt" in data else "no_prompt"
        assert body["error"]["type"] == kind
        assert set(body["error"]) == {"type", "message", "details", "extra_info"}
        assert body["node_errors"] == {}


@pytest.mark.parametrize(
    ("path", "data"), [("/free", b""), ("/queue", b""), ("/history", b""), ("/interrupt", b"[]"), ("/free", b"[]")]
)
async def test_commands_without_a_proper_body_fail(comfyui: Server, path: str, data: bytes) -> None:
    assert await comfyui.send("POST", path, data=data) == (500, SERVER_ERROR)


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/queue"), ("PUT", "/prompt")])
async def test_wrong_methods_get_plain_405(comfyui: Server, method: str, path: str) -> None:
    assert await comfyui.send(method, path) == (405, "405: Method Not Allowed")


async def test_a_foreign_page_is_refused(comfyui: Server) -> None:
    assert await comfyui.send("GET", "/queue", headers={"Origin": "http://evil.example"}) == (403, "")
    assert (await comfyui.send("GET", "/queue", headers={"Origin": comfyui.url}))[0] == 200


@pytest.mark.parametrize(
    ("host", "origin", "foreign"),
    [
        ("127.0.0.1:8188", "http://evil.example", True),
        ("127.0.0.1:8188", "http://127.0.0.1:8188", False),
        ("127.0.0.1:8188", "http://127.0.0.1", False),
        ("127.0.0.1:8188", "http://localhost:8188", True),
        ("localhost", "http://LOCALHOST:3000", False),
        ("comfy.example", "http://evil.example", False),
        ("127.0.0.1:8188", "null", False),
    ],
)
def test_origins_are_compared_on_loopback_only(host: str, origin: str, *, foreign: bool) -> None:
    assert routes.foreign_origin(host, origin) is foreign


# --- files


async def test_uploads_keep_their_name_unless_it_is_taken_by_other_bytes(comfyui: Server) -> None:
    async def name(data: bytes, **fields: str) -> str:
        status, body = await comfyui.upload(data, "up.png", **fields)
        assert status == 200
        return str(body["name"])

    assert [await name(png()), await name(png()), await name(png("blue"))] == ["up.png", "up.png", "up (1).png"]
    assert await name(png("green"), overwrite="true") == "up.png"
    async with comfyui.session.get(f"{comfyui.url}/view?filename=up.png&type=input") as response:
        assert await response.read() == png("green")


async def test_uploads_go_to_subfolders_and_other_folders_and_loaders_find_them(comfyui: Server) -> None:
    answer = await comfyui.upload(png(), subfolder="jobs/a", type="input")
    assert answer == (200, {"name": "up.png", "subfolder": "jobs/a", "type": "input"})
    await comfyui.upload(png(), "other.png", type="temp")
    for image in ("jobs/a/up.png", "other.png [temp]"):
        prompt = plain()
        prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": image}}
        assert (await comfyui.run(prompt))["status"]["completed"]


@pytest.mark.parametrize(("name", "fields"), [("up.png", {"subfolder": "../../x"}), ("../../evil.png", {}), ("", {})])
async def test_uploads_outside_or_without_a_file_are_refused(
    comfyui: Server, tmp_path: Path, name: str, fields: dict[str, str]
) -> None:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\nx\r\n'
        + "".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
        + "--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert await comfyui.send("POST", "/upload/image", data=body.encode(), headers=headers) == (400, "")
    assert not list(tmp_path.parent.glob("**/evil.png"))


async def test_a_quoted_path_is_just_a_strange_name(comfyui: Server, tmp_path: Path) -> None:
    status, body = await comfyui.upload(png(), "../../evil.png")
    assert (status, body["name"]) == (200, "..%2F..%2Fevil.png")
    assert (tmp_path / "input" / body["name"]).is_file()


async def test_a_form_without_an_image_is_refused(comfyui: Server) -> None:
    assert await comfyui.send("POST", "/upload/image", data={"type": "input"}) == (400, "")


async def test_too_large_an_upload_is_refused(comfyui: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "UPLOAD_LIMIT", 200_000)
    status, text = await comfyui.upload(bytes(300_000))
    assert (status, text) == (413, "Maximum request body size 200000 exceeded.")


async def test_a_file_is_viewed_with_its_name_and_type(comfyui: Server) -> None:
    await comfyui.run(plain("sub dir/scaled"))
    async with comfyui.session.get(f"{comfyui.url}/view?filename=scaled_00001_.png&subfolder=sub dir") as response:
        assert response.status == 200
        assert response.content_type == "image/png"
        assert response.headers["Content-Disposition"] == 'filename="scaled_00001_.png"'


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("filename=absent.png", 404),
        ("", 404),
        ("filename=../x", 400),
        ("filename=/etc/x", 400),
        ("filename=x&type=bogus", 400),
        ("filename=x&subfolder=../..", 403),
        ("filename=", 400),
    ],
)
async def test_what_cannot_be_viewed_is_refused_with_nothing(comfyui: Server, query: str, status: int) -> None:
    assert await comfyui.send("GET", f"/view?{query}") == (status, "")


def test_old_outputs_are_deleted_beyond_the_limit(tmp_path: Path) -> None:
    files = Files(tmp_path, keep_outputs=2)
    names = [files.save("output", "x", ".png", b"")["filename"] for _ in range(4)]
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == names[2:]


def test_numbers_go_on_after_a_restart_and_temp_is_emptied(tmp_path: Path) -> None:
    first = Files(tmp_path, 10)
    first.save("output", "sub/x", ".png", b"")
    first.save("temp", "x", ".png", b"")
    second = Files(tmp_path, 10)
    assert second.save("output", "sub/x", ".png", b"") == {
        "filename": "x_00002_.png",
        "subfolder": "sub",
        "type": "output",
    }
    assert not list((tmp_path / "temp").iterdir())


@pytest.mark.parametrize("prefix", ["../x", "/etc/x", "a/../../x"])
def test_nothing_is_saved_outside(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(OutsideFolderError):
        Files(tmp_path / "base", 10).save("output", prefix, ".png", b"")


# --- outputs


FRAMES: dict[str, Any] = {"images": ["1", 0], "filename_prefix": "out"}


@pytest.mark.parametrize(
    ("class_type", "inputs", "key", "ending", "signature"),
    [
        ("SaveImage", FRAMES, "images", ".png", b"\x89PNG"),
        ("PreviewImage", {"images": ["1", 0]}, "images", ".png", b"\x89PNG"),
        (
            "SaveAnimatedWEBP",
            {**FRAMES, "fps": 6, "lossless": True, "quality": 80, "method": "default"},
            "images",
            ".webp",
            b"RIFF",
        ),
        ("SaveAnimatedPNG", {**FRAMES, "fps": 6, "compress_level": 4}, "images", ".png", b"\x89PNG"),
        *(
            (
                "VHS_VideoCombine",
                {**FRAMES, "frame_rate": 8, "loop_count": 0, "format": kind, "pingpong": False, "save_output": True},
                "gifs",
                ending,
                signature,
            )
            for kind, ending, signature in (
                ("image/gif", ".gif", b"GIF89a"),
                ("image/webp", ".webp", b"RIFF"),
                ("video/h264-mp4", ".mp4", b"ftyp"),
            )
        ),
        (
            "SaveVideo",
            {"video": ["2", 0], "filename_prefix": "out", "format": "auto", "codec": "auto"},
            "images",
            ".mp4",
            b"ftyp",
        ),
        ("SaveAudio", {"audio": ["3", 0], "filename_prefix": "audio/out"}, "audio", ".flac", b"fLaC"),
    ],
)
async def test_every_output_node_writes_a_true_file(
    comfyui: Server, class_type: str, inputs: dict[str, Any], key: str, ending: str, signature: bytes
) -> None:
    prompt = (
        plain()
        .node("1", "EmptyImage", width=32, height=32, batch_size=3, color=255)
        .node("2", "CreateVideo", images=["1", 0], fps=8)
        .node("3", "EmptyAudio", duration=2.0, sample_rate=44100, channels=2)
        .node("9", class_type, **inputs)
    )
    entry = await comfyui.run(prompt, partial_execution_targets=["9"])
    assert entry["status"]["completed"], entry["status"]
    file = entry["outputs"]["9"][key][0]
    assert file["filename"].endswith(ending)
    query = {name: file[name] for name in ("filename", "subfolder", "type")}
    async with comfyui.session.get(f"{comfyui.url}/view", params=query) as response:
        assert signature in (await response.read())[:16]


async def test_a_batch_is_numbered_and_carries_the_prompt(comfyui: Server, tmp_path: Path) -> None:
    entry = await comfyui.run(diffusion(batch_size=3))
    names = [file["filename"] for file in entry["outputs"]["9"]["images"]]
    assert names == [f"ComfyUI_0000{n}_.png" for n in (1, 2, 3)]
    pictures = [Image.open(tmp_path / "output" / name) for name in names]
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert json.loads(pictures[0].info["prompt"])["6"]["inputs"]["text"] == "a cat"


async def test_equal_workflows_give_equal_pictures(comfyui: Server, tmp_path: Path) -> None:
    for seed in (1, 2, 1):
        await comfyui.run(diffusion(seed=seed))
    first, second, third = (Image.open(path).tobytes() for path in sorted((tmp_path / "output").iterdir()))
    assert first == third != second


@pytest.mark.parametrize(
    ("class_type", "inputs"),
    [
        ("ImageInvert", {"image": ["1", 0]}),
        ("ImageBlur", {"image": ["1", 0], "blur_radius": 3, "sigma": 1}),
        ("ImageScale", {"image": ["1", 0], "upscale_method": "area", "width": 16, "height": 0, "crop": "disabled"}),
        ("ImageScaleBy", {"image": ["1", 0], "upscale_method": "lanczos", "scale_by": 2}),
        ("ImageBatch", {"image1": ["1", 0], "image2": ["1", 0]}),
        ("ImageUpscaleWithModel", {"image": ["1", 0], "upscale_model": ["3", 0]}),
    ],
)
async def test_picture_nodes_work(comfyui: Server, class_type: str, inputs: dict[str, Any]) -> None:
    prompt = (
        plain()
        .node("1", "EmptyImage", width=32, height=32, batch_size=1, color=255)
        .node("3", "UpscaleModelLoader", model_name="RealESRGAN_x4plus.pth")
        .node("5", class_type, **inputs)
        .node("9", "SaveImage", images=["5", 0], filename_prefix="x")
    )
    del prompt["2"]
    assert (await comfyui.run(prompt))["outputs"]["9"]["images"]


async def test_image_to_image_masks_and_upscaled_latents_work(comfyui: Server) -> None:
    await comfyui.upload(png(), "in.png")
    prompt = (
        diffusion()
        .node("1", "LoadImage", image="in.png")
        .node("2", "LoadImageMask", image="in.png", channel="red")
        .node("5", "VAEEncodeForInpaint", pixels=["1", 0], vae=["4", 2], mask=["2", 0], grow_mask_by=6)
        .node("10", "LatentUpscaleBy", samples=["3", 0], upscale_method="bilinear", scale_by=2)
    )
    prompt["8"]["inputs"]["samples"] = ["10", 0]
    assert (await comfyui.run(prompt))["outputs"]["9"]["images"]


async def test_a_video_is_loaded_as_frames(comfyui: Server) -> None:
    await comfyui.upload(b"video", "in.mp4")
    prompt = plain().node(
        "1",
        "VHS_LoadVideo",
        video="in.mp4",
        force_rate=0,
        custom_width=0,
        custom_height=0,
        frame_load_cap=0,
        skip_first_frames=0,
        select_every_nth=1,
    )
    assert len((await comfyui.run(prompt))["outputs"]["3"]["images"]) == 8


# --- time


async def test_a_fixed_time_per_task_holds_for_workflows() -> None:
    async with serving(type="comfyui", seconds_per_task=0.15) as comfyui:
        for prompt in (plain(), diffusion(steps=30)):
            await comfyui.run(prompt)
        jobs = await comfyui.jobs()
    assert len(jobs) == 2
    assert all(0.149 <= job["duration"] < 3 for job in jobs)


async def test_prompts_run_one_at_a_time() -> None:
    async with serving(type="comfyui", seconds_per_task=0.05) as comfyui:
        prompt_ids = await asyncio.gather(*(comfyui.queue(plain(str(n))) for n in range(3)))
        for prompt_id in prompt_ids:
            await comfyui.finished(prompt_id)
        spans = [(job["started"], job["finished"]) for job in await comfyui.jobs()]
        assert comfyui.gpu.busy_seconds >= 0.149
    assert spans[0][1] <= spans[1][0] + 1e-3
    assert spans[1][1] <= spans[2][0] + 1e-3
