"""Reads the images out of the answers of OpenAI's image API."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from yarl import URL

from agent.documents import THREAD_THRESHOLD, decode_json
from agent.errors import PermanentError, TransientError
from agent.runtimes.allowance import Allowance, check_outputs, check_values
from agent.runtimes.base import Answer, Output
from agent.runtimes.downloads import RemoteFile, download, nothing_fetched
from agent.runtimes.http import Server
from agent.runtimes.openai.failures import TITLE, failure_of_run, words_of


async def read_images(body: bytes, server: Server, allowance: Allowance) -> Answer:
    """Returns what a run made, from an answer with status 200.

    Images that the server holds itself are fetched from it; a link to anybody else is not followed.

    Args:
        body: the answer's.
        server: that gave it.
        allowance: of the answer, its files included.

    Raises:
        TaskError: it is not such an answer, holds no image, or names one that cannot be had.
    """
    check_values(body, TITLE)
    try:
        document = await decode_json(body)
    except ValueError as error:
        raise _garbage("something that is no JSON") from error
    items = document.get("data") if isinstance(document, dict) else None
    if not isinstance(items, list):
        if isinstance(document, dict) and document.get("error"):
            words = words_of(document)
            raise failure_of_run(words) or TransientError("runtime_error", f"{TITLE} failed: {words}")
        raise _garbage("JSON without a list of data")
    check_outputs(len(items), TITLE)
    if not items:
        raise TransientError("no_images", f"{TITLE} answered 200 without any image")
    remote = [remote_file(server, item["url"]) for item in items if _is_remote(item)]
    if len(body) > THREAD_THRESHOLD:
        held = await asyncio.to_thread(_decode_all, items)
    else:
        held = _decode_all(items)
    if not remote:
        return Answer([output for output in held if output is not None], body)
    found = await download(server, remote, allowance)
    if (lost := nothing_fetched(found, TITLE)) and not any(held):
        raise lost
    return Answer([*(output for output in held if output is not None), *found.outputs], body, found.warnings)


def remote_file(server: Server, link: str) -> RemoteFile:
    """Returns the file of a link, which must be on the server itself.

    Raises:
        PermanentError: it is elsewhere.
    """
    base = URL(server.base)
    try:
        url = base.join(URL(link))
        same = url.origin() == base.origin()
    except ValueError as error:
        raise _foreign("an address that makes no sense") from error
    if not same:
        raise _foreign(f"a link to {url.host}")
    path = url.path.removeprefix(base.path.rstrip("/")) if base.path != "/" else url.path
    return RemoteFile(url.name or "image", URL.build(path=path).raw_path, dict(url.query) or None)


def _foreign(what: str) -> PermanentError:
    return PermanentError(
        "foreign_output",
        f"{TITLE} answers with {what}, where a picture in base64 was asked for; the agent fetches from no other place: "
        "turn its cloud storage off",
    )


def _is_remote(item: Any) -> bool:
    return isinstance(item, dict) and not item.get("b64_json") and _link(item) != "" and not _is_data(_link(item))


def _link(item: dict[str, Any]) -> str:
    link = item.get("url")
    return link if isinstance(link, str) else ""


def _is_data(link: str) -> bool:
    return link.startswith("data:")


def _decode_all(items: list[Any]) -> list[Output | None]:
    """Returns the images that came along, and lets go of each one's text; None for those that are to be fetched."""
    outputs: list[Output | None] = []
    for index, item in enumerate(items):
        items[index] = None
        outputs.append(None if _is_remote(item) else Output(_decode(item, index + 1)))
    return outputs


def _decode(item: Any, number: int) -> bytes:
    text = (item.get("b64_json") or _link(item)) if isinstance(item, dict) else None
    if not isinstance(text, str) or not text:
        raise _garbage(f"an image {number} that has neither b64_json nor url")
    try:
        data = base64.b64decode(text.partition(",")[2] if _is_data(text) else text, validate=True)
    except ValueError as error:
        raise _garbage(f"an image {number} that is no base64") from error
    if not data:
        raise _garbage(f"an image {number} that is empty")
    return data


def _garbage(what: str) -> TransientError:
    return TransientError("garbage_answer", f"{TITLE} answered 200 with {what}")
