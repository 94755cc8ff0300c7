"""Reads an upload's form (RFC 7578) piece by piece: its file is handed on as it comes, and never held whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.comfy_v2.errors import unprocessable
from api.errors import ApiError

FILE: Final = "file"

MOST_BESIDES: Final = 64 * 1024
"""Bytes of all that is not the file."""


class Form:
    """A form with one file, and fields before it and after it.

    Args:
        stream: the body.
        content_type: the request's header.

    Raises:
        ApiError: 422, it is no form.
    """

    def __init__(self, stream: AsyncIterator[bytes], content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise _invalid("must be multipart/form-data with a boundary")
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self.file_type = ""
        self._stream = stream
        self._parser = self._made(boundary)
        self._headers: dict[str, bytes] = {}
        self._header = bytearray(), bytearray()
        self._name = ""
        self._value = bytearray()
        self._pieces: list[bytes] = []
        self._besides = 0
        self._file_began = self._file_ended = self._ended = False

    async def file(self) -> AsyncIterator[bytes]:
        """Returns the bytes of the file, once its head has come; what stands before it is in `fields` then.

        Raises:
            ApiError: 422, there is none, or this is no form; 413, too much is beside it.
            ClientDisconnect: the connection has ended.
        """
        while not self._file_began:
            await self._read()
        return self._file()

    async def close(self) -> None:
        """Reads what comes after the file.

        Raises:
            ApiError: as `file`.
        """
        while not self._ended:
            await self._read()

    async def _file(self) -> AsyncIterator[bytes]:
        while True:
            pieces, self._pieces = self._pieces, []
            for piece in pieces:
                yield piece
            if self._file_ended:
                return
            await self._read()

    async def _read(self) -> None:
        chunk = await anext(self._stream, None)
        if chunk is None or self._ended:
            raise _invalid("is no whole form with a file" if self._file_began else f"has no part named {FILE}")
        of_file = sum(map(len, self._pieces))
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _invalid(f"is no form: {error}") from error
        self._besides += len(chunk) - (sum(map(len, self._pieces)) - of_file)
        if self._besides > MOST_BESIDES:
            raise ApiError(
                413,
                "payload_too_large",
                f"the form has more than {MOST_BESIDES} bytes beside its file",
                headers={"connection": "close"},
            )

    def _made(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def _on_part_begin(self) -> None:
        self._headers, self._name = {}, ""
        self._value.clear()

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").strip().lower()] = bytes(value)
        self._header = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != FILE:
            return
        if self._file_began:
            raise FormParserError("it has two files")
        self._file_began = True
        name = options.get(b"filename")
        self.file_name = name.decode("utf-8", "replace") if name is not None else None
        self.file_type = self._headers.get("content-type", b"").decode("latin-1")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._pieces.append(data[start:end])
        else:
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        if self._name == FILE:
            self._file_ended = True
        elif self._name:
            self.fields[self._name] = self._value.decode("utf-8", "replace").strip()

    def _on_end(self) -> None:
        self._ended = True


def _invalid(problem: str) -> ApiError:
    return unprocessable("invalid_request", f"the body {problem}")
