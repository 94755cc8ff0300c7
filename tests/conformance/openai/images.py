"""What the server says of itself, and how it makes pictures."""

from __future__ import annotations

import asyncio
import struct

from tests.conformance.case import Mark, NotApplicableError, case, check
from tests.conformance.openai.client import IMAGES, SIDE, OpenAi, pictures
from tests.conformance.shapes import Each

_PNG = b"\x89PNG\r\n\x1a\n"


@case("GET /v1/models lists at least one model by its id")
async def models(server: OpenAi) -> None:
    check("GET /v1/models", {"data": Each({"id": str}, least=1)}, await server.get("/v1/models"))


@case("GET /health is 200 once it can take work")
async def health(server: OpenAi) -> None:
    reply = await server.send("GET", "/health")
    if reply.status == 404:
        raise NotApplicableError("the server has no /health; /v1/models tells")
    check("GET /health", 200, reply.status)


@case("a picture comes in base64 where that is asked for, in the size that is asked for", Mark.NEEDS_MODEL)
async def one_picture(server: OpenAi) -> None:
    reply = await server.generate()
    check("POST generations", IMAGES, reply.shown())
    (data,) = pictures(reply)
    check("its first bytes", True, data.startswith(_PNG))
    check("its size", (SIDE, SIDE), struct.unpack(">II", data[16:24]))


@case("n pictures come in one answer", Mark.NEEDS_MODEL)
async def several_pictures(server: OpenAi) -> None:
    reply = await server.generate(n=2)
    check("POST generations", IMAGES, reply.shown())
    check("how many", 2, len(pictures(reply)))


@case("the same seed makes the same picture, another one another", Mark.NEEDS_MODEL)
async def seeds(server: OpenAi) -> None:
    if await server.owner_of_the_model() == "local":
        raise NotApplicableError("sd-server has no seed in this API")
    first, again, other = [pictures(await server.generate(seed=seed))[0] for seed in (7, 7, 8)]
    check("the same seed", True, first == again)
    check("another seed", True, first != other)


@case("unknown fields are ignored", Mark.NEEDS_MODEL)
async def unknown_fields(server: OpenAi) -> None:
    check("POST generations", IMAGES, (await server.generate(no_such_field=[1])).shown())


@case("a picture is edited that comes as the file `image`", Mark.NEEDS_MODEL)
async def edit(server: OpenAi) -> None:
    check("POST edits", IMAGES, (await server.edit()).shown())


@case("several files come as `image[]`", Mark.NEEDS_MODEL)
async def edit_several(server: OpenAi) -> None:
    check("POST edits", IMAGES, (await server.edit("image[]", 2)).shown())


@case("requests that come together are all answered", Mark.NEEDS_MODEL)
async def together(server: OpenAi) -> None:
    for reply in await asyncio.gather(*(server.generate(seed=number) for number in range(3))):
        check("POST generations", IMAGES, reply.shown())
