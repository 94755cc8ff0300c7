"""Reads the header of a `.safetensors` file and checks it against the file, without touching the weights.

The format: https://github.com/huggingface/safetensors#format (8 bytes of length, JSON, then the tensors' bytes without
holes). What is accepted here, the library accepts; a damaged file is found before it is uploaded, not by a GPU.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

LENGTH_BYTES: Final = 8
MAX_HEADER: Final = 100_000_000
"""Bytes; the library's own limit (`MAX_HEADER_SIZE`)."""

DTYPE_BITS: Final = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}
"""By the names of the library's `Dtype`, as of its version 0.6."""


class UnsoundFileError(Exception):
    """This is no safetensors file, or a damaged one; the text says what is wrong, without the file's name."""


@dataclass(frozen=True)
class Tensor:
    """One entry of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Byte of its first value, counted from the end of the header."""
    end: int


@dataclass(frozen=True)
class Header:
    """All of a header."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    """What a trainer or converter wrote; no two agree on it."""


def read_header(file: BinaryIO, size: int) -> Header:
    """Reads and checks the header of a file that stands at its beginning.

    Args:
        file: is read up to the end of the header, and no further.
        size: bytes of the whole file.

    Raises:
        UnsoundFileError: it is not sound.
        OSError: it cannot be read.
    """
    length = header_length(file.read(LENGTH_BYTES), size)
    return parse_header(file.read(length), data_size=size - LENGTH_BYTES - length)


def header_length(prefix: bytes, size: int) -> int:
    """Returns the bytes of the JSON that follows the first eight.

    Raises:
        UnsoundFileError: the file is too short for it, or no header is that long.
    """
    if len(prefix) < LENGTH_BYTES:
        raise UnsoundFileError(f"it is {size} bytes long: too short for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise UnsoundFileError(f"its header would have {length} bytes, the most is {MAX_HEADER}: no safetensors file")
    if LENGTH_BYTES + length > size:
        raise UnsoundFileError(f"it is cut off: {size} bytes, but its header alone has {length}")
    return length


def parse_header(raw: bytes, *, data_size: int) -> Header:
    """Parses the JSON and checks it against the bytes of data that follow it.

    Raises:
        UnsoundFileError: it is not sound.
    """
    if not raw.startswith(b"{"):
        raise UnsoundFileError("its header is no JSON object: no safetensors file")
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise UnsoundFileError(f"its header is no sound JSON: {error}") from error
    metadata = _metadata(document.pop("__metadata__", None))
    tensors = {name: _tensor(name, entry) for name, entry in document.items()}
    _check_layout(tensors, data_size)
    return Header(tensors, metadata)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse_number(text: str) -> None:
    raise ValueError(f"{text} is no whole number")


def _metadata(found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UnsoundFileError("its __metadata__ is no mapping of texts")
    return found


def _tensor(name: str, entry: Any) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UnsoundFileError(f"its entry {_shown(name)} has not exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise UnsoundFileError(f"its entry {_shown(name)} has the unknown dtype {str(dtype)[:20]!r}")
    if not _is_sizes(shape):
        raise UnsoundFileError(f"its entry {_shown(name)} has a shape that is no list of sizes")
    if not _is_sizes(offsets) or len(offsets) != 2:
        raise UnsoundFileError(f"its entry {_shown(name)} has data_offsets that are no two positions")
    start, end = offsets
    wanted = math.prod(shape) * DTYPE_BITS[dtype]
    if (end - start) * 8 != wanted:
        raise UnsoundFileError(
            f"its entry {_shown(name)} has {end - start} bytes, but its shape and dtype need {wanted / 8:g}"
        )
    return Tensor(dtype, tuple(shape), start, end)


def _is_sizes(value: Any) -> bool:
    """Whether it is a list of what a 64-bit machine can count."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_layout(tensors: dict[str, Tensor], data_size: int) -> None:
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            what = "overlaps the one before it" if tensor.start < position else "leaves a hole before it"
            raise UnsoundFileError(f"its entry {_shown(name)} {what}")
        position = tensor.end
    if position > data_size:
        raise UnsoundFileError(f"it is cut off: {position - data_size} bytes are missing at its end")
    if position < data_size:
        raise UnsoundFileError(f"it has {data_size - position} bytes at its end that belong to nothing")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:59]}…")
