"""Recognises a JSON document that comes again."""

from __future__ import annotations

import hashlib
from typing import Any

from contract.documents import encode_sorted


def digest(document: Any) -> str:
    """Returns a digest of a JSON document that does not depend on white space or the order of keys."""
    return hashlib.sha256(encode_sorted(document)).hexdigest()
