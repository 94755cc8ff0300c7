"""Names every object in the output bucket, so that writers and readers cannot disagree."""

from __future__ import annotations

import hashlib
from typing import Final

RECORDS: Final = ".tasks/"
PAYLOADS: Final = ".payloads/"
IDEMPOTENCY: Final = ".idempotency/"

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


def record_key(task_id: str) -> str:
    """Returns the key of a task's record."""
    return f"{RECORDS}{task_id}.json"


def payload_key(task_id: str, submission: str) -> str:
    """Returns the key under which a content too large for SNS waits for the agent."""
    return f"{PAYLOADS}{task_id}/{submission}.json"


def idempotency_key(owner: str, key: str) -> str:
    """Returns the key of the note about one `Idempotency-Key` of one API key's owner."""
    digest = hashlib.sha256(f"{owner}\x00{key}".encode()).hexdigest()
    return f"{IDEMPOTENCY}{digest}.json"


def rand4(submission: str) -> str:
    """Returns the four characters that tell one submission's files from another's.

    Derived, not drawn: a second attempt at the same submission overwrites its own files instead of leaving orphans.
    """
    digest = hashlib.sha256(submission.encode()).digest()
    return "".join(_ALPHABET[byte % 32] for byte in digest[:4])


def output_prefix(prefix: str, task_id: str) -> str:
    """Returns the folder of a task's results, without a trailing slash."""
    return f"{prefix}/{task_id}"


def image_key(prefix: str, task_id: str, submission: str, number: int, extension: str) -> str:
    """Returns the key of the `number`-th image (from 1); the extension comes without a dot."""
    return f"{prefix}/{task_id}/{task_id}-{rand4(submission)}-{number}.{extension}"


def answer_key(prefix: str, task_id: str, submission: str) -> str:
    """Returns the key of the runtime's full answer."""
    return f"{prefix}/{task_id}/{task_id}-{rand4(submission)}.out"


def s3_url(bucket: str, key: str) -> str:
    """Returns `s3://bucket/key`."""
    return f"s3://{bucket}/{key}"


def split_s3_url(url: str) -> tuple[str, str]:
    """Returns bucket and key of an `s3://bucket/key` address.

    Raises:
        ValueError: it is not such an address, or has no key.
    """
    scheme, separator, rest = url.partition("://")
    bucket, slash, key = rest.partition("/")
    if scheme.lower() != "s3" or not separator or not bucket or not slash or not key:
        raise ValueError(f"not an s3://bucket/key address: {url[:200]!r}")
    return bucket, key


def is_reserved_key(key: str) -> bool:
    """Tells whether a key is one of our own records or payloads, which no task may name as its input."""
    return key.startswith(".")
