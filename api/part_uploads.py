"""Large input files: their bytes go to S3 directly, in parts, by links that the API signs; it holds nothing of them."""

from __future__ import annotations

import base64
import math
from typing import Annotated, Any, Final, Self

import orjson
import structlog
from botocore.exceptions import ClientError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.auth import Caller
from api.aws import AWS_ERRORS, S3
from api.errors import ApiError, InvalidRequestError, UnavailableError
from api.uploads import ending, stored_type
from contract.identifiers import new_ulid
from contract.links import Signer
from contract.objects import input_key, s3_url
from contract.store import error_code, is_absent

PART: Final = 8 * 1024 * 1024
"""Bytes of a part, or a multiple of it: S3 wants 5 MiB at least (Amazon S3, "Multipart upload limits")."""

MOST_PARTS: Final = 1000
"""As many as S3 lists at once (Amazon S3, ListParts)."""

_NAME: Final = r"^[0-9A-Z]{26}(\.[a-z0-9]{1,10})?$"
_log = structlog.get_logger(__name__)


class WantedUpload(BaseModel):
    """A file that is to come in parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(strict=True, ge=1, description="How many the file has.")]
    name: Annotated[str | None, Field(max_length=1024, description="Its name, of which the ending counts.")] = None
    content_type: Annotated[
        str, Field(max_length=200, description="Its type; what is no image, video, sound or model is stored as bytes.")
    ] = "application/octet-stream"


class Upload(BaseModel):
    """What a client hands back with each call: which upload is meant. It names a file of its own tenant's alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=_NAME)]
    """Of the object, below the tenant's prefix."""
    id: Annotated[str, Field(min_length=1, max_length=1024)]
    """S3's."""
    bytes: Annotated[int, Field(ge=1)]

    @property
    def part_bytes(self) -> int:
        """How large each part is, but for the last."""
        return PART * math.ceil(self.bytes / (PART * MOST_PARTS))

    @property
    def parts(self) -> int:
        """How many there are."""
        return math.ceil(self.bytes / self.part_bytes)

    def size_of(self, number: int) -> int:
        """Returns the bytes of a part, which are counted from 1."""
        return min(self.part_bytes, self.bytes - (number - 1) * self.part_bytes)

    def encode(self) -> str:
        """Returns it as a part of a path."""
        return base64.urlsafe_b64encode(orjson.dumps(self.model_dump())).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Returns what `encode` made.

        Raises:
            ApiError: 404, it is none of ours.
        """
        try:
            return cls.model_validate_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (ValueError, ValidationError) as error:
            raise _unknown() from error


class PartUploads:
    """Begins uploads, signs links for their parts, and puts these together.

    Args:
        s3: where to.
        signer: of the links.
        bucket: the output bucket.
        limit: bytes of the largest file.
        link_seconds: how long a link works.
    """

    def __init__(self, *, s3: S3, signer: Signer, bucket: str, limit: int, link_seconds: int) -> None:
        self._s3 = s3
        self._signer = signer
        self._bucket = bucket
        self._limit = limit
        self._link_seconds = link_seconds

    async def begin(self, caller: Caller, wanted: WantedUpload) -> dict[str, Any]:
        """Begins an upload; returns what is answered.

        Raises:
            ApiError: 400 too large; 415 a type that no file of ours has.
            UnavailableError: S3 is out of reach.
        """
        if wanted.bytes > self._limit:
            raise InvalidRequestError("bytes", f"a file may have {self._limit} bytes at most; found {wanted.bytes}")
        content_type = stored_type(wanted.content_type)
        name = f"{new_ulid()}{ending(wanted.name, content_type)}"
        key = input_key(caller.tenant, name)
        with_s3 = await self._s3.whole()
        try:
            begun = await with_s3.create_multipart_upload(Bucket=self._bucket, Key=key, ContentType=content_type)
        except AWS_ERRORS as error:
            raise _unavailable(key, error) from error
        upload = Upload(name=name, id=begun["UploadId"], bytes=wanted.bytes)
        return {
            "upload": upload.encode(),
            "s3": s3_url(self._bucket, key),
            "bytes": upload.bytes,
            "part_bytes": upload.part_bytes,
            "parts": upload.parts,
        }

    async def part(self, caller: Caller, text: str, number: str) -> dict[str, Any]:
        """Returns number, size and link of a part: the link takes a PUT of just that many bytes.

        Raises:
            ApiError: 404, there is no such upload or part.
            UnavailableError: there are no credentials to sign with.
        """
        upload = self._decode(text)
        if not (number.isascii() and number.isdecimal() and len(number) <= 4 and 1 <= int(number) <= upload.parts):
            raise ApiError(404, "unknown_part", f"this upload has the parts 1 to {upload.parts}")
        size, key = upload.size_of(int(number)), input_key(caller.tenant, upload.name)
        try:
            url = await self._signer.sign_part(
                key, upload=upload.id, number=int(number), size=size, seconds=self._link_seconds
            )
        except AWS_ERRORS as error:
            raise _unavailable(key, error) from error
        return {"number": int(number), "bytes": size, "url": url}

    async def complete(self, caller: Caller, text: str) -> dict[str, Any]:
        """Puts the parts together; done before, it only answers again.

        Raises:
            ApiError: 404, there is no such upload; 409, parts are missing or have another size.
            UnavailableError: S3 is out of reach.
        """
        upload = self._decode(text)
        key = input_key(caller.tenant, upload.name)
        try:
            if not await self._put_together(upload, key) and not await self._is_there(upload, key):
                raise _unknown()
        except AWS_ERRORS as error:
            raise _unavailable(key, error) from error
        (url,) = await self._signer.sign([key], seconds=self._link_seconds)
        return {"s3": s3_url(self._bucket, key), "url": url, "bytes": upload.bytes}

    async def give_up(self, caller: Caller, text: str) -> None:
        """Forgets an upload with what has come of it; one that is not there is no fault.

        Raises:
            ApiError: 404, it is none of ours.
            UnavailableError: S3 is out of reach.
        """
        upload = self._decode(text)
        key = input_key(caller.tenant, upload.name)
        client = await self._s3.whole()
        try:
            await client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload.id)
        except AWS_ERRORS as error:
            if not _is_gone(error):
                raise _unavailable(key, error) from error

    def _decode(self, text: str) -> Upload:
        upload = Upload.decode(text)
        if upload.bytes > self._limit:
            raise _unknown()
        return upload

    async def _put_together(self, upload: Upload, key: str) -> bool:
        """Returns False when S3 has no such upload."""
        client = await self._s3.whole()
        place = {"Bucket": self._bucket, "Key": key, "UploadId": upload.id}
        try:
            listed = await client.list_parts(**place, MaxParts=MOST_PARTS)
            found = {item["PartNumber"]: item for item in listed.get("Parts", [])}
            missing = [
                number
                for number in range(1, upload.parts + 1)
                if number not in found or found[number]["Size"] != upload.size_of(number)
            ]
            if missing:
                raise ApiError(
                    409,
                    "upload_incomplete",
                    f"{len(missing)} of {upload.parts} parts are missing or have another size; send them, then "
                    "complete the upload again",
                    details={"missing": missing},
                )
            parts = [{"PartNumber": number, "ETag": found[number]["ETag"]} for number in range(1, upload.parts + 1)]
            await client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except ClientError as error:
            if not _is_gone(error):
                raise
            return False
        return True

    async def _is_there(self, upload: Upload, key: str) -> bool:
        try:
            found = await self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if not is_absent(error):
                raise
            return False
        return int(found["ContentLength"]) == upload.bytes


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, ClientError) and error_code(error) == "NoSuchUpload"


def _unknown() -> ApiError:
    return ApiError(
        404, "unknown_upload", "there is no such upload: it was given up, or is older than a day; begin another one"
    )


def _unavailable(key: str, error: BaseException) -> UnavailableError:
    _log.warning("cannot upload in parts", key=key, error=repr(error))
    return UnavailableError("S3 is out of reach; try again")
