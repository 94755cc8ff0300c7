"""The tags of a task: a few short words of its owner's, by which costs are summed up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import Field

MOST_TAGS: Final = 8
"""Tags of one task: they travel in its message, its record, and its line of the usage."""

TagName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
TagValue = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$")]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=MOST_TAGS)]


def tags_text(tags: Mapping[str, str]) -> str:
    """Returns tags as one text, the same for the same tags: `project=x, team=y`; empty without any."""
    return ", ".join(f"{name}={value}" for name, value in sorted(tags.items()))
