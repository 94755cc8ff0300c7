"""Replaces the links in a request by what they name, as base64."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, Final

from agent.inputs import InputSource
from agent.inputs.links import IsText, find_links, replace_links, starts_as_link
from contract.inputs import NO_RULES, InputRules

_TEXT_ENDINGS: Final = ("prompt", "prompts", "text", "name", "url", "uri", "endpoint", "webhook")
_TEXT_FIELDS: Final = frozenset({"styles", "comments", "sampler_index", "override_settings", "title", "caption"})


def is_text_field(name: str) -> bool:
    """Tells whether a field holds words, names or settings, in which an address is no file to be fetched.

    Scripts name theirs after the server's own: `ad_prompt`, `hr_negative_prompt`, `wildcard_text`. In every other field
    what begins as an address is fetched by the agent or refused: SD Web UI would open it as a picture, unguarded.
    """
    name = name.lower()
    return name.endswith(_TEXT_ENDINGS) or name in _TEXT_FIELDS


async def localise(
    body: dict[str, Any],
    inputs: InputSource,
    *,
    tenant: str,
    rules: InputRules = NO_RULES,
    is_text: IsText = is_text_field,
    prefix: Callable[[bytes], str] = lambda _: "",
) -> dict[str, Any]:
    """Returns the request without links.

    Args:
        body: the request.
        inputs: fetches them.
        tenant: whose results they may name.
        rules: what the request says of single links.
        is_text: tells which fields hold words.
        prefix: of a file: what stands before its base64, as in a data URL.
    """
    links = find_links(body, is_text=is_text, is_link=starts_as_link, rules=rules)
    if not links:
        return body
    fetched = await inputs.fetch_all(links, tenant=tenant)
    encoded = await asyncio.to_thread(
        lambda: {link: prefix(data) + base64.b64encode(data).decode("ascii") for link, data in fetched.items()}
    )
    localised: dict[str, Any] = replace_links(body, encoded, is_text=is_text, rules=rules)
    return localised
