"""Makes model files for tests: sound ones, as small or as large as wanted."""

from __future__ import annotations

import json


def model_bytes(name: str, data: bytes = b"") -> bytes:
    """Returns a sound safetensors file with one tensor of bytes."""
    header = json.dumps({name: {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data
