"""How InvokeAI takes, keeps, describes, hands out and deletes images."""

from __future__ import annotations

import io

from PIL import Image

from tests.conformance.case import Case, case, check
from tests.conformance.invokeai.client import IMAGES, InvokeAi, color, images_of
from tests.conformance.shapes import UUID, Only
from tests.support.graphs import Graph, of_image, plain, resized

_PNG = b"\x89PNG\r\n\x1a\n"


def picture(size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
    """Returns a small picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


@case("an upload is kept under a name of the server's own, described, and its address told")
async def upload(server: InvokeAi) -> None:
    reply = await server.upload(picture())
    name = reply.body["image_name"]
    about = {"image_origin": "external", "image_category": "user", "width": 8, "height": 6, "is_intermediate": True}
    nothing = {"session_id": None, "node_id": None, "deleted_at": None, "starred": False, "board_id": None}
    address = f"api/v1/images/i/{name}/full"
    expected = {"image_name": str, "image_url": address, **about, **nothing}
    check("POST upload", {"status": 201, "body": expected}, reply.shown())
    check("Location", address, reply.headers.get("Location"))
    check("GET image", reply.body, await server.get(f"{IMAGES}/i/{name}"))


@case("the same upload twice is two images")
async def upload_twice(server: InvokeAi) -> None:
    names = {await server.uploaded(picture()) for _ in range(2)}
    check("the names", 2, len(names))


@case("an upload of another format is kept as PNG")
async def upload_of_a_jpeg(server: InvokeAi) -> None:
    reply = await server.upload(picture(kind="JPEG"), kind="image/jpeg")
    check("POST upload", 201, reply.status)
    stored = await server.send("GET", f"{IMAGES}/i/{reply.body['image_name']}/full")
    check("it is a PNG", _PNG, stored.data[:8])


def _refusal(name: str, statement: str, status: int, detail: object, **options: object) -> Case:
    async def refused(server: InvokeAi) -> None:
        data = options.get("data", picture())
        assert isinstance(data, bytes)
        fields = {key: str(value) for key, value in options.items() if key != "data"}
        reply = await server.upload(data, **fields)
        check("POST upload", {"status": status, "body": {"detail": detail}}, reply.shown())

    return Case(f"refuses-an-upload-{name}", statement, refused)


def _missing(*place: str) -> dict[str, object]:
    return {"type": "missing", "loc": list(place), "msg": "Field required", "input": None}


_CATEGORIES = "'general', 'mask', 'control', 'user' or 'other'"
REFUSALS = (
    _refusal("of-another-type", "a content type that is no image's is 415", 415, "Not an image", kind="text/plain"),
    _refusal("that-is-no-image", "what cannot be read is 415", 415, "Failed to read image", data=b"nonsense"),
    _refusal("cut-off", "a picture cut off is 500", 500, "Failed to create image", data=picture((64, 64))[:60]),
    _refusal("without-a-file", "another field is 422", 422, [_missing("body", "file")], field="image"),
    _refusal(
        "without-a-category",
        "without its category it is 422",
        422,
        [_missing("query", "image_category")],
        is_intermediate="true",
    ),
    _refusal(
        "of-an-unknown-category",
        "an unknown category is 422, and the known ones are listed",
        422,
        [{"type": "enum", "loc": ["query", "image_category"], "msg": f"Input should be {_CATEGORIES}", "input": "x"}],
        image_category="x",
        is_intermediate="true",
    ),
)


@case("an image is handed out as PNG with its name, to be kept for a year; HEAD tells the same")
async def full(server: InvokeAi) -> None:
    name = await server.uploaded(picture())
    expected = (200, "image/png", f'inline; filename="{name}"', "max-age=31536000")
    for method in ("GET", "HEAD"):
        reply = await server.send(method, f"{IMAGES}/i/{name}/full")
        headers = ("Content-Type", "Content-Disposition", "Cache-Control")
        check(f"{method} full", expected, (reply.status, *(reply.headers.get(header) for header in headers)))
    check("it is a PNG", _PNG, (await server.send("GET", f"{IMAGES}/i/{name}/full")).data[:8])


@case("an image of a run names its session and its node, and carries the graph")
async def image_of_a_run(server: InvokeAi) -> None:
    item = await server.completed(plain(64, 48, color=color()))
    (node_id,) = item["session"]["results"]
    name = images_of(item)["blank"]
    about = {"image_origin": "internal", "image_category": "general", "width": 64, "height": 48}
    names = {"session_id": item["session_id"], "node_id": node_id, "is_intermediate": False}
    check("GET image", {**about, **names, "has_workflow": True}, await server.get(f"{IMAGES}/i/{name}"))
    data = (await server.send("GET", f"{IMAGES}/i/{name}/full")).data
    with Image.open(io.BytesIO(data)) as image:
        check("its size", (64, 48), image.size)
        check("its text", True, '"blank_image"' in image.info.get("invokeai_graph", ""))


@case("a node's is_intermediate is its image's")
async def intermediate(server: InvokeAi) -> None:
    names = images_of(await server.completed(resized(use_cache=False)))
    found = {node: (await server.get(f"{IMAGES}/i/{name}"))["is_intermediate"] for node, name in names.items()}
    check("the images", {"blank": True, "resized": False}, found)


@case("a graph works on an uploaded image by its name")
async def image_to_image(server: InvokeAi) -> None:
    item = await server.completed(of_image(await server.uploaded(picture())))
    (result,) = item["session"]["results"].values()
    check("the result", {"width": 32, "height": 24, "type": "image_output"}, result)


@case("the node image passes an image on under its own name")
async def passed_on(server: InvokeAi) -> None:
    name = await server.uploaded(picture())
    item = await server.completed(Graph().node("given", "image", image={"image_name": name}))
    check("the result", {"given": name}, images_of(item))


@case("images_by_names describes the images that are there, in the order of the names")
async def by_names(server: InvokeAi) -> None:
    names = [await server.uploaded(picture()) for _ in range(2)]
    body = {"image_names": [names[1], "unknown.png", names[0]]}
    found = await server.post(f"{IMAGES}/images_by_names", body)
    check("POST images_by_names", [{"image_name": names[1]}, {"image_name": names[0]}], found)
    check("of none", [], await server.post(f"{IMAGES}/images_by_names", {"image_names": []}))


@case("delete takes the images that are there, and passes over the others")
async def delete(server: InvokeAi) -> None:
    name = await server.uploaded(picture())
    path = f"{IMAGES}/delete"
    expected = Only({"deleted_images": [name], "failed_images": [], "affected_boards": ["none"]})
    check("POST delete", expected, await server.post(path, {"image_names": [name, "unknown.png"]}))
    nothing: dict[str, list[str]] = {"deleted_images": [], "failed_images": [], "affected_boards": []}
    check("POST delete again", nothing, await server.post(path, {"image_names": [name]}))
    for address in (f"{IMAGES}/i/{name}", f"{IMAGES}/i/{name}/full"):
        await server.refuses("GET", address, 404, {"detail": "Not Found"})


@case("DELETE of one image deletes it; of an unknown one it is 404")
async def delete_one(server: InvokeAi) -> None:
    path = f"{IMAGES}/i/{await server.uploaded(picture())}"
    check("DELETE", {"failed_images": [], "affected_boards": ["none"]}, await server.delete(path))
    await server.refuses("DELETE", path, 404, {"detail": "Image not found"})


@case("names of images look like UUIDs with .png")
async def names(server: InvokeAi) -> None:
    name = await server.uploaded(picture())
    check("the name", [UUID, ".png"], [name[:36], name[36:]])


def _body(name: str, path: str, document: object, kind: str, message: str) -> Case:
    async def refused(server: InvokeAi) -> None:
        fault = {"type": kind, "loc": ["body", "image_names"], "msg": message}
        await server.refuses("POST", IMAGES + path, 422, {"detail": [fault]}, json=document)

    return Case(f"refuses-{name}", f"POST {path} with {document} is 422 at its place", refused)


BODIES = (
    _body("a-deletion-of-nothing", "/delete", {}, "missing", "Field required"),
    _body(
        "a-question-for-no-list", "/images_by_names", {"image_names": "x"}, "list_type", "Input should be a valid list"
    ),
)
