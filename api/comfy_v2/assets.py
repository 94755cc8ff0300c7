"""Uploaded assets: files by the hash of their content, each once for its tenant, and never across tenants.

A note beside the files says what lies where. An asset's id is a UUID that follows from the hash, so that one note is
found by either. The note is written after the file, so it is forgotten no sooner; and it stands for the file only as
long as that outlives every task that may name it: after that the file is to be sent again, to a new place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from api.auth import Caller
from api.aws import AWS_ERRORS, S3
from api.body import incomplete
from api.comfy_v2.errors import not_found, unprocessable
from api.comfy_v2.forms import Form
from api.errors import ApiError, UnavailableError
from api.uploads import Uploads, ending, stored_type
from contract.links import Signer
from contract.objects import input_key
from contract.store import read_document
from contract.topology import EXPIRY, RECORD_DAYS

KEPT: Final = timedelta(days=RECORD_DAYS)
"""How long the bucket keeps a file."""

FRESH: Final = KEPT - timedelta(seconds=EXPIRY)
"""How long a file need not be sent again: after that it might go before a task that names it has run."""

_HASH: Final = re.compile(r"blake3:[0-9a-f]{64}")
_MOST_NAME: Final = 500
_SECONDS: Final = 12

_log = structlog.get_logger(__name__)


class Asset(BaseModel):
    """What is known of a file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hash: str
    key: str
    """Of the file."""
    size: int
    content_type: str
    file_path: str
    created_at: datetime
    deleted: bool = False

    @property
    def id(self) -> str:
        """A UUID."""
        return asset_id(self.hash)

    def is_there(self, now: datetime) -> bool:
        """Tells whether the file can be had."""
        return not self.deleted and now < self.created_at + KEPT

    def is_fresh(self, now: datetime) -> bool:
        """Tells whether new work may begin with the file as it lies."""
        return not self.deleted and now < self.created_at + FRESH


def unknown_asset(wanted: str) -> ApiError:
    """Returns the 404 for an asset that the caller does not have."""
    shown = wanted if len(wanted) <= 80 else f"{wanted[:77]}…"
    return not_found(f"there is no asset {shown!r}", id=shown)


def checked_hash(text: Any) -> str:
    """Returns `blake3:` and 64 hexadecimal digits in lower case.

    Raises:
        ApiError: 422.
    """
    found = text.lower() if isinstance(text, str) else ""
    if not _HASH.fullmatch(found):
        raise unprocessable("invalid_request", "the hash must be blake3: and 64 hexadecimal digits")
    return found


def asset_id(hash_: str) -> str:
    """Returns the UUID (version 8, RFC 9562) that follows from a hash."""
    bits = int(hash_.removeprefix("blake3:")[:32], 16)
    bits = bits & ~(0xF << 76) | 8 << 76
    bits = bits & ~(0x3 << 62) | 2 << 62
    return str(UUID(int=bits))


def is_asset_id(text: str) -> bool:
    """Tells whether a text can be the id of an uploaded asset."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


class Assets:
    """The uploaded assets of an output bucket.

    Args:
        s3: the client.
        signer: of the links.
        bucket: the output bucket.
        uploads: takes the files.
        link_seconds: how long a link works.
    """

    def __init__(self, *, s3: S3, signer: Signer, bucket: str, uploads: Uploads, link_seconds: int) -> None:
        self._s3 = s3
        self._signer = signer
        self._bucket = bucket
        self._uploads = uploads
        self._link_seconds = link_seconds

    async def store(self, request: Request, caller: Caller) -> tuple[Asset, bool]:
        """Stores the file of a form; returns the asset, and whether its content is new.

        Raises:
            ApiError: 409 `hash_mismatch`; 413; 422, it is no such form.
            UnavailableError: S3 is out of reach.
        """
        form = Form(request.stream(), request.headers.get("content-type", ""))
        hashed = blake3()

        async def stream(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for piece in pieces:
                hashed.update(piece)
                yield piece

        try:
            coming = self._uploads.coming(request, stream(await form.file()))
            declared = form.fields.get("content_type") or form.file_type or "application/octet-stream"
            name = form.fields.get("file_path") or form.file_name or ""
            kind = _stored_type(declared)
            key = await self._uploads.keep(coming, caller, ending=ending(name or None, kind), content_type=kind)
            await form.close()
        except ClientDisconnect as error:
            raise incomplete(too_slow=False) from error
        name = form.fields.get("file_path") or name or "upload"
        found = f"blake3:{hashed.hexdigest()}"
        expected = form.fields.get("expected_hash", "").lower()
        if expected and expected != found:
            raise ApiError(
                409, "hash_mismatch", f"the bytes that came are {found}", details={"expected": expected[:80]}
            )
        before = await self._read(caller.tenant, asset_id(found))
        now = datetime.now(UTC)
        if before is not None and before.is_fresh(now):
            return before, False
        asset = Asset(
            hash=found, key=key, size=coming.size, content_type=kind, file_path=name[:_MOST_NAME], created_at=now
        )
        await self._write(caller.tenant, asset)
        return asset, True

    async def by_hash(self, tenant: str, hash_: str) -> Asset | None:
        """Returns a tenant's asset that need not be sent again; None: there is none."""
        asset = await self._read(tenant, asset_id(hash_))
        return asset if asset is not None and asset.hash == hash_ and asset.is_fresh(datetime.now(UTC)) else None

    async def get(self, tenant: str, wanted: str) -> Asset | None:
        """Returns a tenant's asset; None: there is none, or it has gone."""
        asset = await self._read(tenant, wanted) if is_asset_id(wanted) else None
        return asset if asset is not None and asset.is_there(datetime.now(UTC)) else None

    async def delete(self, tenant: str, wanted: str) -> None:
        """Deletes a tenant's asset, and the content of its file.

        The API may delete nothing in the bucket (docs/security.md). What it writes over goes by the bucket's rules.

        Raises:
            ApiError: 404.
        """
        asset = await self.get(tenant, wanted)
        if asset is None:
            raise unknown_asset(wanted)
        await self._write(tenant, asset.model_copy(update={"deleted": True}))
        await self._put(asset.key, b"", "application/octet-stream")

    async def link(self, asset: Asset) -> str:
        """Returns a link to the file."""
        (link,) = await self._signer.sign([asset.key], seconds=self._link_seconds)
        return link

    async def view(self, asset: Asset, *, created_new: bool | None = None) -> dict[str, Any]:
        """Returns an asset as v2's clients see it; `created_new` says whether this request brought the content."""
        view: dict[str, Any] = {
            "id": asset.id,
            "hash": asset.hash,
            "size_bytes": asset.size,
            "content_type": asset.content_type,
            "file_path": asset.file_path,
            "created_at": asset.created_at,
            "url": await self.link(asset),
            "url_expires_at": datetime.now(UTC) + timedelta(seconds=self._link_seconds),
            "expires_at": asset.created_at + KEPT,
        }
        return view if created_new is None else {**view, "created_new": created_new}

    async def _read(self, tenant: str, wanted: str) -> Asset | None:
        try:
            async with asyncio.timeout(_SECONDS):
                found = await read_document(self._s3, self._bucket, _note_key(tenant, wanted))
            return Asset.model_validate_json(found[0]) if found is not None else None
        except AWS_ERRORS as error:
            _log.warning("cannot read an asset's note", asset=wanted, error=repr(error))
            raise UnavailableError("the asset could not be looked up; try again") from error
        except ValidationError:
            _log.exception("asset's note unreadable", asset=wanted)
            return None

    async def _write(self, tenant: str, asset: Asset) -> None:
        await self._put(_note_key(tenant, asset.id), asset.model_dump_json().encode(), "application/json")

    async def _put(self, key: str, body: bytes, content_type: str) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)
        except AWS_ERRORS as error:
            _log.warning("cannot write an asset's note", key=key, error=repr(error))
            raise UnavailableError("the asset could not be noted; try again") from error


def _note_key(tenant: str, wanted: str) -> str:
    """Returns where the note about an asset lies; files have other names, ULIDs."""
    return input_key(tenant, f"{wanted}.json")


def _stored_type(declared: str) -> str:
    """Returns the type with which a file is stored; a form's file may be of any type."""
    try:
        return stored_type(declared)
    except ApiError:
        return "application/octet-stream"
