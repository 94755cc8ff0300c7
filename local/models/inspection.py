"""Decides whether a file may go into the model bucket: sound safetensors, or a pickle that is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.models.safetensors import Header, UnsoundFileError, read_header

SAFETENSORS: Final = ".safetensors"
PICKLES: Final = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl"})
"""What PyTorch's `torch.save` files are called. Loading one runs the code that is in it."""

_PICKLE_START: Final = re.compile(rb"PK\x03\x04|PK\x05\x06|\x80[\x02-\x05]")
"""A zip archive (`torch.save` since 1.6), or a bare pickle of protocol 2 to 5."""
_TAR: Final = (257, b"ustar")
"""`torch.save` before 0.1.10."""
HEAD_BYTES: Final = 512
"""From the beginning of a file, for `is_pickle`."""


class RefusedFileError(Exception):
    """A file that does not go into the bucket; one line that names it, the reason and the way out."""


@dataclass(frozen=True)
class Inspected:
    """A file that may be uploaded."""

    path: Path
    size: int
    header: Header | None
    """None for a pickle."""


def is_pickle(name: str, head: bytes) -> bool:
    """Whether a file is one of PyTorch's, by its name or by its first bytes, whatever it is called."""
    start, magic = _TAR
    by_content = _PICKLE_START.match(head) is not None or head[start : start + len(magic)] == magic
    return by_content or Path(name).suffix.lower() in PICKLES


def inspect(path: Path, *, allow_pickle: bool) -> Inspected:
    """Returns what a file is, if it may be uploaded.

    Raises:
        RefusedFileError: it may not.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if is_pickle(path.name, head):
                return _pickle(path, size, head, allow_pickle=allow_pickle)
            header = read_header(file, size)
    except UnsoundFileError as error:
        raise RefusedFileError(f"{path}: {error}") from error
    except OSError as error:
        raise RefusedFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() != SAFETENSORS:
        raise RefusedFileError(f"{path}: is a safetensors file by its content; name it {path.stem}{SAFETENSORS}")
    return Inspected(path, size, header)


def _pickle(path: Path, size: int, head: bytes, *, allow_pickle: bool) -> Inspected:
    if path.suffix.lower() not in PICKLES:
        raise RefusedFileError(f"{path}: is a pickle by its content, not what its name says; do not trust it")
    if not head:
        raise RefusedFileError(f"{path}: is empty")
    if not allow_pickle:
        raise RefusedFileError(
            f"{path}: is a pickle, which can run any code where it is loaded; "
            "use the model's safetensors file, or say --allow-pickle if you trust who made it"
        )
    return Inspected(path, size, None)
