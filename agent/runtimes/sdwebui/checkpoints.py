"""Finds the checkpoint that a request names among those that SD Web UI lists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_HASH_SUFFIX: Final = re.compile(r"\s*\[[0-9a-f]+\]\s*$")
_LISTED: Final = 20


@dataclass(frozen=True)
class Checkpoint:
    """One entry of `/sdapi/v1/sd-models`."""

    title: str
    """What `/options` takes and gives: the path within the models folder, then the short hash if it is known."""
    names: frozenset[str]
    """Everything by which a request may call it."""
    shown: frozenset[str]
    """What `info.sd_model_name` of an answer may say."""


def read_checkpoints(document: Any) -> list[Checkpoint]:
    """Reads the answer of `/sdapi/v1/sd-models`; what cannot be read is left out."""
    items = document if isinstance(document, list) else []
    return [_checkpoint(item) for item in items if isinstance(item, dict) and isinstance(item.get("title"), str)]


def find_checkpoint(name: str, known: Sequence[Checkpoint]) -> Checkpoint | None:
    """Returns the checkpoint of that name, or None.

    Names match whole, as in the server's own table of aliases (modules/sd_models.py, `checkpoint_aliases`), plus the
    file's name without its folder, which is what users and `config.yaml` write. The server's further search for any
    title that *contains* the name is left out: it would run `v1-5` on whatever is listed first.
    """
    return next((item for item in known if item.title == name), None) or next(
        (item for item in known if name in item.names), None
    )


def without_hash(title: str) -> str:
    """Returns a title as it was before the server had computed the hash: the path within the models folder."""
    return _HASH_SUFFIX.sub("", title)


def describe_choice(name: str, known: Sequence[Checkpoint]) -> str:
    """Returns the end of an error message: the nearest name, and what there is."""
    titles = [without_hash(item.title) for item in known]
    close = difflib.get_close_matches(name, titles, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    more = f" and {len(titles) - _LISTED} more" if len(titles) > _LISTED else ""
    return f"{hint}available: {', '.join(titles[:_LISTED]) or 'none'}{more}"


def _checkpoint(item: dict[str, Any]) -> Checkpoint:
    title: str = item["title"]
    path = without_hash(title)
    file = re.split(r"[/\\]", str(item.get("filename") or path))[-1]
    base = re.split(r"[/\\]", path)[-1]
    # sd-server of stable-diffusion.cpp shows the file's name with its ending, the others without.
    shown = {str(item.get("model_name") or ""), _stem(file), _stem(base), file, base} - {""}
    hashes = {str(item.get("hash") or ""), str(item.get("sha256") or "")}
    return Checkpoint(title, frozenset({title, path, file, base, *shown, *hashes} - {""}), frozenset(shown))


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot else name
