"""The tags of a task: a few short words of its owner's, by which costs are summed up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

MOST_TAGS: Final = 8
"""Tags of one task: they travel in its message, its record, and its line of the usage."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a tag's name has 1 to 32 letters, digits, dots, dashes and underscores, and begins with a letter or digit"
        )
    return name


def _check_value(value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise ValueError("a tag has 1 to 64 characters, and no control characters")
    return value


TagName = Annotated[str, AfterValidator(_check_name)]
TagValue = Annotated[
    str,
    AfterValidator(_check_value),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 64}),
]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=MOST_TAGS)]


def tags_text(tags: Mapping[str, str]) -> str:
    """Returns tags as one text, the same for the same tags: `project=x, team=y`; empty without any."""
    return ", ".join(f"{name}={value}" for name, value in sorted(tags.items()))
