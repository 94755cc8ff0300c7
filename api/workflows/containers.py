"""Finds the texts of a ComfyUI workflow in a picture, a video or a sound that ComfyUI has saved.

ComfyUI and its nodes write the API form under the name `prompt` and the editor's under `workflow`: PNG as text chunks
(PNG specification, 11.3.3), WebP and JPEG in EXIF ("prompt:{…}", `SaveAnimatedWEBP`), FLAC, Opus, MP3, MP4 and WebM as
tags (`SaveAudio`, `SaveVideo`, `SaveWEBM`; VideoHelperSuite puts both into one tag `comment`). But for PNG, the text
lies in the file as it is, behind its name or behind the head of its box, so that it is looked for there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final

from api.workflows.errors import WorkflowError

PNG: Final = b"\x89PNG\r\n\x1a\n"
_COMF: Final = b"comf"
"""A chunk of ComfyUI's own, with what tEXt holds (`SaveAnimatedPNG`)."""
_OGG: Final = b"OggS"

MOST_TEXT: Final = 8 * 1024 * 1024
"""Bytes of one text; a workflow of a thousand nodes has one."""

_MOST_CHUNKS: Final = 10_000
_MOST_CANDIDATES: Final = 64
_OGG_HEAD: Final = 27
"""Bytes of a page's head before its table of segments (RFC 3533, section 6)."""
_MOST_OGG: Final = 2 * MOST_TEXT

_NAMES: Final = tuple(word.encode() for name in ("prompt", "workflow", "comment") for word in (name, name.upper()))
_MARKS: Final = (*_NAMES, b"Prompt", b"Workflow", b"data\x00\x00\x00\x01")
"""What stands before a text; the last is the head of a value in MP4 (QuickTime File Format, "Value atom")."""

_FAR: Final = 40
"""Bytes between a mark and its text: signs, sizes, a language."""

_MARKUP: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)
_MOST_MARKUP: Final = 1_000_000


def is_text(data: bytes | bytearray) -> bool:
    """Tells whether a file is a JSON text, by its first byte."""
    return data[:256].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith((b"{", b"["))


def texts_of(data: bytes) -> Iterator[bytes]:
    """Yields the JSON texts in a file, of which some may be no workflow.

    Raises:
        WorkflowError: a text is too large.
    """
    if data.startswith(PNG):
        yield from _png_texts(data)
    else:
        yield from _marked_texts(_ogg_packets(data) if data.startswith(_OGG) else data)


def has_parameters(data: bytes) -> bool:
    """Tells whether a picture carries the parameters of SD Web UI, which are no workflow."""
    return b"tEXtparameters\x00" in data[:4096]


def _png_texts(data: bytes) -> Iterator[bytes]:
    view, at = memoryview(data), len(PNG)
    for _ in range(_MOST_CHUNKS):
        size, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        body = view[at + 8 : at + 8 + size]
        at += size + 12
        if at > len(data) + 4 or kind == b"IEND":  # a chunk that is cut off is no chunk
            return
        if kind in {b"tEXt", b"zTXt", b"iTXt", _COMF}:
            text = _chunk_text(kind, bytes(body))
            if text.lstrip()[:1] == b"{":
                yield text


def _chunk_text(kind: bytes, body: bytes) -> bytes:
    if kind in {b"tEXt", _COMF}:
        text = body.partition(b"\0")[2]
        if len(text) > MOST_TEXT:
            raise _too_large()
        return text if _is_utf8(text) else text.decode("latin-1").encode()
    if kind == b"zTXt":
        _, _, rest = body.partition(b"\0")
        return _unzip(rest[1:]).decode("latin-1").encode()
    _, _, rest = body.partition(b"\0")
    packed, rest = rest[:1] == b"\1", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _unzip(rest) if packed else rest


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unzip(data: bytes) -> bytes:
    unzip = zlib.decompressobj()
    try:
        text = unzip.decompress(data, MOST_TEXT + 1)
    except zlib.error as error:
        raise WorkflowError(f"a compressed text of the picture cannot be read: {error}") from error
    if len(text) > MOST_TEXT:
        raise _too_large()
    return text


def _too_large() -> WorkflowError:
    return WorkflowError(f"a text in the picture has more than {MOST_TEXT} bytes")


def _ogg_packets(data: bytes) -> bytes:
    """Returns the beginning of what is in the pages of an Ogg file, without their heads."""
    found, at = bytearray(), 0
    while data.startswith(_OGG, at) and len(found) < _MOST_OGG:
        segments = (
            data[at + _OGG_HEAD : at + _OGG_HEAD + data[at + _OGG_HEAD - 1]] if at + _OGG_HEAD <= len(data) else b""
        )
        begin = at + _OGG_HEAD + len(segments)
        found += data[begin : begin + sum(segments)]
        at = begin + sum(segments)
    return bytes(found)


def _marked_texts(data: bytes) -> Iterator[bytes]:
    begins: set[int] = set()
    for mark in _MARKS:
        at = data.find(mark)
        while at >= 0 and len(begins) < _MOST_CANDIDATES:
            end = at + len(mark)
            brace = data.find(b"{", end, end + _FAR)
            if brace >= 0:
                begins.add(brace)
            at = data.find(mark, end)
    over = 0
    for begin in sorted(begins):
        # A name that is part of a text marks no text of its own.
        if begin >= over and (text := _whole(data, begin)):
            over = begin + len(text)
            yield text


def _whole(data: bytes, begin: int) -> bytes:
    """Returns the JSON object that begins there; empty if it does not end."""
    depth = 0
    for count, found in enumerate(_MARKUP.finditer(data, begin, begin + MOST_TEXT)):
        if found[0] == b"{":
            depth += 1
        elif found[0] == b"}":
            depth -= 1
        if depth == 0:
            return data[begin : found.end()]
        if count > _MOST_MARKUP:
            break
    return b""
