"""What goes in and out of ComfyUI as files."""

from __future__ import annotations

import json
import zlib

import aiohttp

from tests.conformance.case import Case, Mark, NotApplicableError, case, check
from tests.conformance.comfyui.client import ComfyUi, color, fresh, png
from tests.conformance.shapes import Each, OneOf
from tests.support.workflows import Workflow, plain

SERVER_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"
"""What aiohttp says, in plain text, when a handler fails."""

LIMIT = 104_857_600
"""Bytes of a request's body that the server takes unless told otherwise (`--max-upload-size`, 100 MB)."""


def loading(image: str) -> Workflow:
    """Returns a workflow that loads a picture and saves it."""
    return (
        Workflow()
        .node("1", "LoadImage", image=image)
        .node("3", "SaveImage", images=["1", 0], filename_prefix=f"conformance/{fresh()}")
    )


def text_chunks(data: bytes) -> dict[str, str]:
    """Returns the texts in a PNG (PNG specification, tEXt and zTXt)."""
    found, place = {}, 8
    while place < len(data):
        length, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        name, _, text = data[place + 8 : place + 8 + length].partition(b"\0")
        if kind == b"tEXt":
            found[name.decode("latin-1")] = text.decode("latin-1")
        elif kind == b"zTXt":
            found[name.decode("latin-1")] = zlib.decompress(text[1:]).decode("latin-1")
        place += 12 + length
    return found


async def view(server: ComfyUi, file: dict[str, str]) -> bytes:
    """Returns a file's bytes."""
    reply = await server.send("GET", "/view", params=file)
    check("GET /view", 200, reply.status)
    return reply.data


@case("an upload is answered with its name, subfolder and type, and can be viewed")
async def upload(server: ComfyUi) -> None:
    name, data = f"{fresh()}.png", png()
    reply = await server.upload(data, name)
    answer = {"name": name, "subfolder": "", "type": "input"}
    check("POST /upload/image", {"status": 200, "body": answer}, reply.shown())
    check("the bytes", True, await view(server, {"filename": name, "type": "input"}) == data)


@case("the same name with the same bytes stays; with other bytes a number is put in")
async def upload_of_a_taken_name(server: ComfyUi) -> None:
    stem = fresh()
    names = [(await server.upload(data, f"{stem}.png")).body["name"] for data in (png(1), png(1), png(2))]
    check("the names", [f"{stem}.png", f"{stem}.png", f"{stem} (1).png"], names)


@case("overwrite=true replaces")
async def upload_that_overwrites(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    for data in (png(1), png(2)):
        check("the name", name, (await server.upload(data, name, overwrite="true")).body["name"])
    check("the bytes", True, await view(server, {"filename": name, "type": "input"}) == png(2))


@case("subfolder and type choose the place, and LoadImage finds both forms of name")
async def upload_to_a_subfolder(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    reply = await server.upload(png(3), name, subfolder="jobs/a", type="input")
    check("POST /upload/image", {"name": name, "subfolder": "jobs/a", "type": "input"}, reply.body)
    reply = await server.upload(png(4), name, type="temp")
    check("POST /upload/image", {"name": name, "subfolder": "", "type": "temp"}, reply.body)
    for image in (f"jobs/a/{name}", f"{name} [temp]"):
        check("status", {"completed": True}, (await server.run(loading(image)))["status"])


@case("an uploaded picture that changes under its name is loaded anew")
async def upload_undoes_the_cache(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    prompt = loading(name)
    await server.upload(png(5), name)
    await server.run(prompt)
    await server.upload(png(6), name, overwrite="true")
    entry = await server.run(prompt)
    check("execution_cached", [], dict(entry["status"]["messages"])["execution_cached"]["nodes"])


@case("bytes that are no image upload all the same")
async def upload_of_no_image(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    reply = await server.upload(b"no image", name)
    check("POST /upload/image", {"status": 200, "body": {"name": name}}, reply.shown())


@case("a name with quoted slashes is just a strange name")
async def upload_of_a_strange_name(server: ComfyUi) -> None:
    stem = fresh()
    reply = await server.upload(png(), f"../../{stem}.png")
    check("POST /upload/image", {"status": 200, "body": {"name": f"..%2F..%2F{stem}.png"}}, reply.shown())


@case("a name or a subfolder that leads outside is 400 without a body")
async def upload_outside(server: ComfyUi) -> None:
    stem = fresh()
    for reply in (
        await server.upload(png(), f"{stem}.png", subfolder="../../x"),
        await server.upload(png(), f"../../{stem}.png", quote=False),
    ):
        check("POST /upload/image", {"status": 400, "body": ""}, reply.shown())


@case("a form without a file is 400 without a body")
async def upload_without_a_file(server: ComfyUi) -> None:
    await server.refuses("POST", "/upload/image", 400, "", data={"type": "input"})


@case("an image that comes as text, and not as a file, is 500")
async def upload_of_a_text_field(server: ComfyUi) -> None:
    await server.refuses("POST", "/upload/image", 500, SERVER_ERROR, data={"image": "text"})


@case("an empty file is stored")
async def upload_of_an_empty_file(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    reply = await server.upload(b"", name)
    check("POST /upload/image", {"status": 200, "body": {"name": name}}, reply.shown())


@case("more than the limit is 413, in plain text", Mark.SLOW)
async def upload_beyond_the_limit(server: ComfyUi) -> None:
    reply = await server.upload(bytes(LIMIT + 1024), "large.png")
    body = f"Maximum request body size {LIMIT} exceeded."
    # aiohttp may tell the size that it met besides.
    check("POST /upload/image", {"status": 413, "body": OneOf(body, str)}, reply.shown())
    check("the text", body[:25], str(reply.body)[:25])


@case("POST /upload/mask needs the picture that the mask belongs to: 500 without original_ref")
async def mask_without_original(server: ComfyUi) -> None:
    form = aiohttp.FormData()
    form.add_field("image", png(), filename="mask.png")
    await server.refuses("POST", "/upload/mask", 500, SERVER_ERROR, data=form)


@case("POST /upload/mask stores the original with the mask as its transparency")
async def mask_of_an_upload(server: ComfyUi) -> None:
    name = f"{fresh()}.png"
    await server.upload(png(200), name)
    form = aiohttp.FormData()
    form.add_field("image", png(100), filename=f"mask-{name}")
    form.add_field("original_ref", json.dumps({"filename": name, "type": "input", "subfolder": ""}))
    reply = await server.send("POST", "/upload/mask", data=form)
    check("POST /upload/mask", {"status": 200, "body": {"name": f"mask-{name}", "type": "input"}}, reply.shown())
    stored = await view(server, {"filename": f"mask-{name}", "type": "input"})
    check("what is stored is a PNG", b"\x89PNG", stored[:4])


@case("GET /view sends the file with its type and its name")
async def view_of_a_file(server: ComfyUi) -> None:
    prefix = fresh()
    await server.run(plain(prefix, color=color()))
    reply = await server.send("GET", "/view", params={"filename": f"{prefix}_00001_.png"})
    headers = {name: reply.headers.get(name) for name in ("Content-Type", "Content-Disposition")}
    expected = {"Content-Type": "image/png", "Content-Disposition": f'filename="{prefix}_00001_.png"'}
    check("the headers", expected, headers)
    check("the bytes begin as a PNG's", True, reply.data.startswith(b"\x89PNG"))


@case("a saved PNG carries the whole prompt")
async def prompt_in_the_file(server: ComfyUi) -> None:
    prompt = plain(fresh(), color=color())
    entry = await server.run(prompt)
    chunks = text_chunks(await view(server, entry["outputs"]["3"]["images"][0]))
    check("the prompt chunk", prompt, json.loads(chunks.get("prompt", "null")))


@case("a prefix with folders saves into them; numbers go up")
async def save_into_a_subfolder(server: ComfyUi) -> None:
    folder = f"conformance {fresh()}"
    files = [
        (await server.run(plain(f"{folder}/scaled", color=color())))["outputs"]["3"]["images"][0] for _ in range(2)
    ]
    shape = [{"filename": f"scaled_0000{n}_.png", "subfolder": folder, "type": "output"} for n in (1, 2)]
    check("the files", shape, files)
    await view(server, files[1])


@case("%width%, %height% and %year% are filled into a prefix")
async def words_in_the_prefix(server: ComfyUi) -> None:
    stem = fresh()
    entry = await server.run(plain(f"{stem}-%width%x%height%-%year%", color=color()))
    name = entry["outputs"]["3"]["images"][0]["filename"]
    check("the name", True, name.startswith(f"{stem}-64x48-20"))


@case("PreviewImage writes into temp")
async def preview_image(server: ComfyUi) -> None:
    prompt = plain(fresh(), color=color()).node("3", "PreviewImage", images=["2", 0])
    entry = await server.run(prompt)
    files = entry["outputs"]["3"]["images"]
    check("the files", Each({"filename": str, "subfolder": "", "type": "temp"}, least=1), files)
    await view(server, files[0])


@case("GET /view sends what a browser could run, SVG too, as bytes to be saved")
async def view_of_an_active_file(server: ComfyUi) -> None:
    await server.only_today()
    for ending in ("svg", "html"):
        name = f"{fresh()}.{ending}"
        await server.upload(b"<svg/>", name)
        reply = await server.send("GET", "/view", params={"filename": name, "type": "input"})
        expected = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        check(f"the headers of {ending}", expected, {key: reply.headers.get(key) for key in expected})


@case("with assets on, a saved file has an id of its own beside its name")
async def files_are_assets(server: ComfyUi) -> None:
    await server.only_today()
    if not (await server.get("/features"))["assets"]:
        raise NotApplicableError("assets are off")
    (file,) = (await server.run(plain(fresh(), color=color())))["outputs"]["3"]["images"]
    check("the file", {"filename": str, "subfolder": "", "type": "output", "id": str}, file)


def _view_refusal(name: str, query: str, status: int) -> Case:
    async def refused(server: ComfyUi) -> None:
        await server.refuses("GET", f"/view?{query}", status, "")

    return Case(f"view-{name}", f"GET /view?{query} is {status} without a body", refused)


VIEW_REFUSALS = (
    _view_refusal("of-an-absent-file", "filename=no-such-file.png", 404),
    _view_refusal("without-a-name", "", 404),
    _view_refusal("of-an-empty-name", "filename=", 400),
    _view_refusal("of-a-path-upwards", "filename=../x", 400),
    _view_refusal("of-an-absolute-path", "filename=/etc/x", 400),
    _view_refusal("of-an-unknown-type", "filename=x&type=bogus", 400),
    _view_refusal("of-a-subfolder-outside", "filename=x&subfolder=../..", 403),
)
