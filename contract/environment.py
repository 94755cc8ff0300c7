"""The environment that makes a task's results: the lock of a runtime, as its server itself tells of it.

Agents ask, and leave each lock in the output bucket once, by its hash. Records name that. Whatever a server does not
tell is absent from its lock: unknown, never guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from contract.documents import encode_sorted
from contract.objects import environment_index_key
from contract.store import ContendedRecordError, S3Client, read_document, write_document
from contract.task import EnvironmentHash, RuntimeType

FRESH: Final = timedelta(minutes=5)
"""For so long what one agent has told of an environment stands for all that have it."""

LATELY: Final = timedelta(minutes=40)
"""An environment that an agent has told of within this time may be there still: agents tell again every 15 minutes."""

MOST_MODELS: Final = 20_000
"""Model files that a lock names; of more, they count as not known."""

_KEPT: Final = 50
"""Environments of one runtime that its index names, those that were told of last."""

_TRIES: Final = 12

_UNKNOWN: Final = "unknown"

_DOCUMENT: Final = ConfigDict(frozen=True, extra="ignore")


class Extension(BaseModel):
    """A node pack of ComfyUI, or an extension of SD Web UI."""

    model_config = _DOCUMENT

    name: str
    version: str | None = None
    """A version or a commit, as the server tells it; None: unknown."""


class ModelFile(BaseModel):
    """A model that the server can load."""

    model_config = _DOCUMENT

    folder: str = ""
    """Its kind, as the server names it, such as `checkpoints`; empty: the server tells none."""
    name: str
    size: int | None = None
    """Bytes."""
    digest: str | None = None
    """With its algorithm in front, such as `sha256:9f86…`; None: nobody tells."""


class Lock(BaseModel):
    """What can be told of an environment. All of it counts for its hash, and nothing else does."""

    model_config = _DOCUMENT

    type: RuntimeType
    fake: bool = False
    """Whether a stand-in tells it."""
    image: str | None = None
    """The container image of the server: its digest if the chart has one, otherwise its tag."""
    server: str | None = None
    """The software, where several speak one API."""
    version: str | None = None
    packages: Mapping[str, str] = {}
    """Versions of Python, PyTorch and others, by name."""
    extensions: tuple[Extension, ...] | None = None
    models: tuple[ModelFile, ...] | None = None
    settings: Mapping[str, JsonValue] = {}
    """Options of the server that shape every result."""

    def in_order(self) -> Lock:
        """Returns the lock with its lists in their one order; of two by one name the first counts."""
        extensions, models = self.extensions, self.models
        if extensions is not None:
            by_name = {item.name: item for item in reversed(extensions)}
            extensions = tuple(by_name[name] for name in sorted(by_name))
        if models is not None:
            by_place = {(item.folder, item.name): item for item in reversed(models)}
            models = tuple(by_place[place] for place in sorted(by_place))
        return self.model_copy(update={"extensions": extensions, "models": models})

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form, 64 hexadecimal digits.

        That is JSON in UTF-8 without spaces, keys sorted, lists in the order of `in_order`; unknown values, empty
        objects and `"fake": false` are left out, so that a version that tells of more does not rename the rest.
        """
        told = self.in_order().model_dump(mode="json", exclude_none=True)
        canonical = {key: value for key, value in told.items() if value is not False and value != {}}
        return hashlib.sha256(encode_sorted(canonical)).hexdigest()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two environments differ."""

    what: str
    """`image`, `version`, `package`, `extension`, `model`, `setting` …"""
    name: str
    """Of the package, extension, model or setting; empty otherwise."""
    before: str | None
    """None: it is not there."""
    after: str | None

    @property
    def sentence(self) -> str:
        """The difference as people read it."""
        name = f"{self.what} {self.name}".rstrip()
        if self.before is None:
            return f"{name}: added, {self.after}"
        if self.after is None:
            return f"{name}: removed, was {self.before}"
        return f"{name}: {self.before} -> {self.after}"


def differences(before: Lock, after: Lock) -> list[Difference]:
    """Returns in what two environments differ, in an order that does not change; nothing when they are the same."""
    found: list[Difference] = []
    for (what, names), (_, others) in zip(_parts(before), _parts(after), strict=True):
        found.extend(
            Difference(what, name, names.get(name), others.get(name))
            for name in sorted({*names, *others})
            if names.get(name) != others.get(name)
        )
    return found


def _parts(lock: Lock) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yields what a lock tells, part after part: a word for each kind of thing, and texts by their names."""
    for what in ("type", "fake", "image", "server", "version"):
        value = getattr(lock, what)
        yield what, {"": _UNKNOWN if value is None else str(value).lower() if what == "fake" else str(value)}
    yield "package", lock.packages
    extensions, models = lock.extensions, lock.models
    yield "extensions", {"": _UNKNOWN if extensions is None else "known"}
    yield "extension", {item.name: item.version or "version unknown" for item in extensions or ()}
    yield "models", {"": _UNKNOWN if models is None else "known"}
    yield "model", {f"{item.folder}/{item.name}".lstrip("/"): _shown(item) for item in models or ()}
    yield "setting", {name: encode_sorted(value).decode() for name, value in lock.settings.items()}


def _shown(model: ModelFile) -> str:
    size = "size unknown" if model.size is None else f"{model.size} bytes"
    return f"{size}, {model.digest or 'digest unknown'}"


class Index(BaseModel):
    """Which environments the agents of a runtime have told of, and when last."""

    model_config = _DOCUMENT

    seen: dict[EnvironmentHash, AwareDatetime] = {}

    def noting(self, environment: str, now: datetime) -> Index:
        """Returns the index with an environment told of now."""
        seen = {**self.seen, environment: max(now, self.seen.get(environment, now))}
        newest = sorted(seen, key=lambda name: seen[name], reverse=True)[:_KEPT]
        return Index(seen={name: seen[name] for name in newest})

    def newest_first(self) -> Sequence[tuple[str, datetime]]:
        """Returns the environments with the time when each was told of last."""
        return sorted(self.seen.items(), key=lambda item: item[1], reverse=True)

    def lately(self, environment: str, now: datetime) -> bool:
        """Tells whether an agent may have an environment now."""
        at = self.seen.get(environment)
        return at is not None and now - at < LATELY


async def read_index(s3: S3Client, bucket: str, runtime: str) -> Index:
    """Returns a runtime's index; an empty one where there is none yet.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
        pydantic.ValidationError: what is there is no index.
    """
    found = await read_document(s3, bucket, environment_index_key(runtime))
    return Index() if found is None else Index.model_validate_json(found[0])


async def note_environment(s3: S3Client, bucket: str, runtime: str, environment: str) -> None:
    """Notes in a runtime's index that an agent has an environment now.

    Raises:
        ContendedRecordError: others were faster too many times in a row.
        botocore.exceptions.BotoCoreError, ClientError, pydantic.ValidationError: as `read_index`.
    """
    key = environment_index_key(runtime)
    for _ in range(_TRIES):
        found = await read_document(s3, bucket, key)
        index, etag = (Index(), "") if found is None else (Index.model_validate_json(found[0]), found[1])
        now = datetime.now(UTC)
        if now - index.seen.get(environment, datetime.min.replace(tzinfo=UTC)) < FRESH:
            return
        changed = index.noting(environment, now)
        if await write_document(s3, bucket, key, changed, replaced=etag) is not None:
            return
    raise ContendedRecordError(f"the index of environments of {runtime} was changed too often meanwhile")


def describe_lock(lock: Lock) -> dict[str, Any]:
    """Returns a lock as the API shows it: what is unknown is null."""
    return lock.in_order().model_dump(mode="json")
