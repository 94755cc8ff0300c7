"""Reads the forms with which files come to ComfyUI."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aiohttp import BodyPartReader, web
from PIL import Image

_CHUNK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Form:
    """One upload: the file's name and bytes, and the other fields."""

    name: str
    data: bytes
    fields: dict[str, str]

    @classmethod
    async def read(cls, request: web.Request, most: int) -> Self | None:
        """Reads a form; None if it has no file.

        Raises:
            HTTPRequestEntityTooLarge: it has more than so many bytes.
            ValueError: the image is a plain field and not a file, on which the original fails.
        """
        if not request.content_type.startswith(("multipart/", "application/x-www-form-urlencoded")):
            return None
        if not request.content_type.startswith("multipart/"):
            if "image" in await request.post():
                raise ValueError("the image is no file")
            return None
        fields: dict[str, str] = {}
        name, data = "", None
        reader = await request.multipart()
        received = 0
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                return None
            content = bytearray()
            while chunk := await part.read_chunk(_CHUNK_BYTES):
                content += chunk
                received += len(chunk)
                if received > most:
                    raise web.HTTPRequestEntityTooLarge(most, received)
            if part.name == "image":
                if part.filename is None:
                    raise ValueError("the image is no file")
                name, data = part.filename, bytes(content)
            elif part.name is not None:
                fields[part.name] = content.decode()
        return None if data is None or not name else cls(name, data, fields)


def with_mask(original: Path, mask: bytes) -> bytes:
    """Returns a picture as PNG, with the mask's transparency in the place of its own."""
    with Image.open(original) as picture, Image.open(io.BytesIO(mask)) as masking:
        masked = picture.convert("RGBA")
        masked.putalpha(masking.convert("RGBA").getchannel("A"))
    buffer = io.BytesIO()
    masked.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()
