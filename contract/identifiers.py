"""Checks names, ids and prefixes at the edge, because they become queue names, S3 keys and URLs."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator
from ulid import ULID

MAX_TASK_ID_BYTES: Final = 256
"""An S3 key is at most 1,024 bytes of UTF-8 and holds the tenant and the prefix once, the task id twice, and a short
ending."""

MAX_PREFIX_BYTES: Final = 400

TENANT: Final = re.compile(r"[a-z0-9][-_a-z0-9]{0,62}", re.ASCII)
"""A tenant is a folder of the output bucket, and of no other writing: there are stores that do not tell upper case from
lower case."""

RUNTIME_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,51}[a-z0-9])?", re.ASCII)
"""A runtime names a Helm release (53 characters) and Kubernetes objects (RFC 1123 label)."""

STACK_NAME: Final = re.compile(r"[A-Za-z][-A-Za-z0-9]{0,39}", re.ASCII)
"""CloudFormation's rule for stack names, shortened so that derived bucket and queue names fit their limits."""


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Which task is meant: its id, which is unique within its tenant alone."""

    id: str
    tenant: str = ""
    """Empty: the space that all share where there are no tenants."""

    def __str__(self) -> str:
        """As errors name it."""
        return f"{self.id!r} of tenant {self.tenant}" if self.tenant else repr(self.id)


# Control, format (bidirectional overrides, zero-width), surrogate, private use, unassigned, separators of lines.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def new_ulid() -> str:
    """Returns a new ULID: 26 characters of Crockford's base 32, sortable by time of creation."""
    return str(ULID())


def _segment(value: str, what: str) -> str:
    """Checks one path segment; `what` names it in the error."""
    if not value:
        raise ValueError(f"{what} must not be empty")
    # Plain ASCII, as nearly all are, need not be looked at character by character.
    for character in "" if value.isascii() and value.isprintable() else value:
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            raise ValueError(f"{what} must not contain control or invisible characters (found U+{ord(character):04X})")
    for character in "/\\":
        if character in value:
            raise ValueError(f"{what} must not contain {character!r}")
    if value != unicodedata.normalize("NFC", value):
        raise ValueError(f"{what} must be in Unicode normal form C (NFC)")
    if value.startswith("."):
        raise ValueError(f"{what} must not start with a dot: such names are reserved")
    if value != value.strip():
        raise ValueError(f"{what} must not start or end with white space")
    return value


def _is_longer(value: str, size: int) -> bool:
    """Tells whether a text is longer than so many bytes of UTF-8; lone surrogates, refused later, count too."""
    return len(value) > size or len(value.encode("utf-8", "surrogatepass")) > size


def check_task_id(value: str) -> str:
    """Returns a task id unchanged when it is safe as an S3 key segment and a URL segment.

    Raises:
        ValueError: it is empty, too long, not NFC, starts with a dot, or holds a slash or an invisible character.
    """
    # First: what is too long is not looked at character by character.
    if _is_longer(value, MAX_TASK_ID_BYTES):
        raise ValueError(f"the task id must be at most {MAX_TASK_ID_BYTES} bytes of UTF-8")
    _segment(value, "the task id")
    return value


def check_prefix(value: str) -> str:
    """Returns an S3 prefix without its trailing slash when each of its segments is safe.

    Raises:
        ValueError: a segment is empty, starts with a dot (so `..` never passes) or holds a refused character.
    """
    stripped = value.removesuffix("/")
    if _is_longer(stripped, MAX_PREFIX_BYTES):
        raise ValueError(f"the prefix must be at most {MAX_PREFIX_BYTES} bytes of UTF-8")
    for part in stripped.split("/"):
        _segment(part, "each part of the prefix")
    return stripped


def check_tenant(value: str) -> str:
    """Returns a tenant's name unchanged when it is safe as the first segment of an S3 key.

    Raises:
        ValueError: it is not 1 to 63 lower-case letters, digits, dashes and underscores, with a letter or digit first.
    """
    if not TENANT.fullmatch(value):
        raise ValueError(
            "a tenant's name is 1 to 63 lower-case letters, digits, dashes and underscores, with a letter or digit "
            "first, because it becomes part of S3 keys"
        )
    return value


def check_tenant_if_any(value: str) -> str:
    """Returns a tenant's name, or an empty one for the shared space, unchanged.

    Raises:
        ValueError: as `check_tenant`.
    """
    return check_tenant(value) if value else value


def check_runtime_name(value: str) -> str:
    """Returns a runtime's name unchanged when Kubernetes and Helm accept it.

    Raises:
        ValueError: it is not 1 to 53 lower-case letters, digits and dashes that start and end with a letter or digit.
    """
    if not RUNTIME_NAME.fullmatch(value):
        raise ValueError(
            "a runtime's name is 1 to 53 lower-case letters, digits and dashes, with a letter or digit at both ends"
        )
    return value


def check_stack_name(value: str) -> str:
    """Returns a stack's name unchanged when CloudFormation, S3, SQS and ECR accept what is derived from it.

    Raises:
        ValueError: it is not a letter followed by at most 39 letters, digits and single dashes.
    """
    if not STACK_NAME.fullmatch(value) or value.endswith("-") or "--" in value:
        raise ValueError(
            "a stack's name is a letter followed by at most 39 letters, digits and dashes, with no dash at its end and "
            "no two in a row"
        )
    return value


TaskId = Annotated[str, AfterValidator(check_task_id)]
Prefix = Annotated[str, AfterValidator(check_prefix)]
Tenant = Annotated[str, AfterValidator(check_tenant_if_any)]
"""Empty: the shared space."""
RuntimeName = Annotated[str, AfterValidator(check_runtime_name)]
StackName = Annotated[str, AfterValidator(check_stack_name)]
