"""What is refused, and in which shapes."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, case, check
from tests.conformance.openai.client import EDITS, GENERATIONS, OpenAi
from tests.conformance.shapes import OneOf

SAID = OneOf({"error": {"message": str}}, {"error": str}, {"detail": OneOf(str, list)})
"""The body of a refusal: OpenAI's shape, sd-server's, or FastAPI's."""


def _refusal(name: str, what: str, **fields: Any) -> Case:
    async def refused(server: OpenAi) -> None:
        body = {key: value for key, value in server.wish(**fields).items() if value is not None}
        await server.refuses("POST", GENERATIONS, OneOf(400, 422), SAID, json=body)

    return Case(f"refuses-{name}", f"generations with {what} is 400 or 422, and the body says why", refused)


REFUSALS = (
    _refusal("no-prompt", "no prompt", prompt=None),
    _refusal("an-empty-body", "an empty object", **dict.fromkeys(("prompt", "size", "n"))),
)


@case("a body that is no JSON is refused with a word")
async def refuses_garbage(server: OpenAi) -> None:
    headers = {"Content-Type": "application/json"}
    await server.refuses("POST", GENERATIONS, OneOf(400, 422, 500), SAID, data=b"{", headers=headers)


@case("edits without a file are refused with a word")
async def refuses_edits_without_a_file(server: OpenAi) -> None:
    await server.refuses("POST", EDITS, OneOf(400, 415, 422), SAID, json=server.wish())


@case("an unknown route is 404")
async def unknown_route(server: OpenAi) -> None:
    check("POST /v1/no-such-route", 404, (await server.send("POST", "/v1/no-such-route", json={})).status)


@case("a wrong method is 404 or 405")
async def wrong_method(server: OpenAi) -> None:
    check("GET generations", OneOf(404, 405), (await server.send("GET", GENERATIONS)).status)


@case("edits with a file and no prompt are 400 or 422, and the body says why")
async def refuses_edits_without_a_prompt(server: OpenAi) -> None:
    reply = await server.edit(prompt="")
    check("POST edits", {"status": OneOf(400, 422), "body": SAID}, reply.shown())
