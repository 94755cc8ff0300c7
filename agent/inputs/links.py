"""Finds the links in a task's content, and puts something else in their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.errors import PermanentError
from contract.inputs import NO_RULES, InputRules, Path

# What begins as a web address is one, whatever follows: SD Web UI itself opens any image that begins so, with spaces
# in it too, and follows redirects to wherever they lead. An object in S3 may have spaces in its name.
_LINK: Final = re.compile(r"\s*(?:(?:https?|s3)://.*|(?:[a-z][a-z0-9+.-]*://|file:)\S+\s*)", re.IGNORECASE | re.DOTALL)
_LINK_START: Final = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|file:)", re.IGNORECASE)
_DEEPEST: Final = 100

type IsLink = Callable[[str], bool]
type IsText = Callable[[str], bool]
"""Tells whether a field of that name holds words, in which an address is no link."""


def is_link(text: str) -> bool:
    """Tells whether a text is an address, of any scheme, spaces around it aside.

    Addresses that are never fetched (`file:`, `ftp://` …) count: left in place, the runtime might open them.
    """
    return _LINK.fullmatch(text) is not None


def starts_as_link(text: str) -> bool:
    """Tells whether a text starts as an address does, whatever follows.

    The test for servers that fetch links themselves and look at the start only, as SD Web UI does with images
    (modules/api/api.py, `decode_base64_to_image`): what is not recognised here would be fetched there, unguarded.
    """
    return _LINK_START.match(text) is not None


def find_links(content: Any, *, is_text: IsText, is_link: IsLink = is_link, rules: InputRules = NO_RULES) -> list[str]:
    """Returns each link in a content once, in the order of their first places."""
    found: dict[str, None] = {}

    def note(text: str) -> str:
        found.setdefault(text)
        return text

    _Rewriter(lambda text: note(text) if is_link(text) else text, is_text, rules).rewrite(content)
    return list(found)


def replace_links(
    content: Any, replacements: Mapping[str, str], *, is_text: IsText, rules: InputRules = NO_RULES
) -> Any:
    """Returns a copy of a content in which each link that has a replacement is replaced."""
    return _Rewriter(lambda text: replacements.get(text, text), is_text, rules).rewrite(content)


class _Rewriter:
    """Copies a content, and changes the texts in it that may be links."""

    def __init__(self, change: Callable[[str], str], is_text: IsText, rules: InputRules) -> None:
        self._change = change
        self._is_text = is_text
        self._fetched, self._kept = rules.fetched, rules.kept

    def rewrite(self, value: Any, path: Path = (), *, words: bool = False) -> Any:
        """Returns the copy of a value.

        Args:
            value: of a list or an object at `path`.
            path: where it stands.
            words: whether it stands in a field that holds words.
        """
        if len(path) > _DEEPEST:
            raise PermanentError("invalid_content", f"the content is nested more than {_DEEPEST} levels deep")
        if isinstance(value, str):
            return value if path in self._kept or (words and path not in self._fetched) else self._change(value)
        if words and not self._fetched:
            return value
        if isinstance(value, list):
            return [self.rewrite(item, (*path, str(index)), words=words) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {
                key: self.rewrite(item, (*path, str(key)), words=words or self._is_text(str(key)))
                for key, item in value.items()
            }
        return value
