"""A job's labels: strings by names, which lie in the task's context. Pure.

Their limits are those that the README of `comfy-sdk` 0.5.0 tells of Comfy's deployments ("Labelling jobs with
metadata").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.comfy_v2.errors import unprocessable
from api.errors import ApiError

MOST: Final = 16
MOST_FILTERS: Final = 3
MOST_BYTES: Final = 256

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_REFUSED: Final = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_FILTER: Final = re.compile(r"metadata\[(?P<name>.*)\]", re.DOTALL)


def checked_labels(labels: Any) -> dict[str, str]:
    """Returns the labels of a submission.

    Raises:
        ApiError: 422 `metadata_invalid`.
    """
    if not isinstance(labels, dict):
        raise unprocessable("metadata_invalid", "metadata must be an object of strings")
    if len(labels) > MOST:
        raise unprocessable("metadata_invalid", f"metadata has at most {MOST} labels; found {len(labels)}")
    for name, value in labels.items():
        if (problem := _problem(name, value)) is not None:
            raise unprocessable("metadata_invalid", f"metadata: {problem}")
    return labels


def labels_of(context: Any) -> dict[str, str]:
    """Returns the labels that a task's context is; none when it is something else."""
    if isinstance(context, dict) and all(isinstance(value, str) for value in context.values()):
        return context
    return {}


def parse_filters(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns the labels that listed jobs must have: the parameters `metadata[name]=value`; others are passed over.

    Raises:
        ApiError: 400 `invalid_metadata_filter`.
    """
    filters: dict[str, str] = {}
    for parameter, value in parameters:
        if (found := _FILTER.fullmatch(parameter)) is None:
            continue
        name = found["name"]
        if (problem := _problem(name, value)) is not None:
            raise ApiError(400, "invalid_metadata_filter", problem)
        filters[name] = value
    if len(filters) > MOST_FILTERS:
        raise ApiError(400, "invalid_metadata_filter", f"at most {MOST_FILTERS} labels can be asked for at once")
    return filters


def has_all(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tells whether labels hold each of the wanted ones, with that very value."""
    return all(labels.get(name) == value for name, value in wanted.items())


def _problem(name: str, value: Any) -> str | None:
    shown = repr(name[:60])
    if not _NAME.fullmatch(name):
        return f"the name {shown} is not 1 to 40 letters, digits, dashes, dots and underscores"
    if not isinstance(value, str):
        return f"{shown} must be a string"
    if _REFUSED.search(value):
        return f"{shown} holds a control character"
    if len(value.encode()) > MOST_BYTES:
        return f"{shown} must be at most {MOST_BYTES} bytes of UTF-8"
    return None
