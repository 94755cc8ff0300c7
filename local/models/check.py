"""Finds what is wrong in a model bucket, reading no more of each file than its header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from contract.config import Config
from local.models.bucket import ModelBucket, StoredModel
from local.models.inspection import HEAD_BYTES, SAFETENSORS, is_pickle
from local.models.layout import fault_of
from local.models.safetensors import LENGTH_BYTES, UnsoundFileError, header_length, parse_header

_NOTE_SUFFIXES: Final = frozenset({".txt", ".md", ".yaml", ".json", ".png", ".jpg", ".jpeg", ".webp"})
"""What people keep beside models; runtimes read some of it."""


def fault_of_model(bucket: ModelBucket, model: StoredModel) -> str | None:
    """Returns what is wrong with an object of the bucket, or None.

    Raises:
        BucketError: S3 cannot be reached.
    """
    if model.key.endswith("/") and model.size == 0:
        return None  # the console's folders
    if (fault := fault_of(model.key)) is not None:
        return f"{fault}: no runtime sees it"
    if Path(model.key).suffix.lower() in _NOTE_SUFFIXES:
        return None
    return _fault_inside(bucket, model)


def _fault_inside(bucket: ModelBucket, model: StoredModel) -> str | None:
    if model.size < LENGTH_BYTES:
        return f"it is {model.size} bytes long: no model"
    with bucket.open(model, end=min(model.size, HEAD_BYTES)) as body:
        head = body.read()
    if is_pickle(model.key, head):
        return "it is a pickle, which can run any code where it is loaded"
    if not model.key.lower().endswith(SAFETENSORS):
        return f"its name does not end in {SAFETENSORS}: no runtime lists it"
    try:
        length = header_length(head[:LENGTH_BYTES], model.size)
        with bucket.open(model, end=LENGTH_BYTES + length) as body:
            parse_header(body.read()[LENGTH_BYTES:], data_size=model.size - LENGTH_BYTES - length)
    except UnsoundFileError as error:
        return str(error)
    return None


def missing_models(config: Config, keys: Iterable[str]) -> Iterator[str]:
    """Yields, for each runtime of the config whose model is not among the keys, a sentence that says so."""
    there = set(keys)
    for runtime in config.runtimes:
        name = runtime.static_checkpoint
        if name is not None and f"Stable-diffusion/{name}" not in there:
            yield f"Stable-diffusion/{name}: is not in the bucket, and {runtime.name} holds it (modelFilename)"
