"""The model bucket over S3: what lies in it, and uploads in parts that can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from botocore.exceptions import BotoCoreError, ClientError

from local.models.parts import SentPart

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_GONE: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class BucketError(Exception):
    """S3 cannot be reached or refuses a call; one line that names bucket and reason."""


class AlreadyThereError(BucketError):
    """Somebody else has put an object under that key meanwhile."""


@dataclass(frozen=True)
class StoredModel:
    """An object of the bucket."""

    key: str
    size: int
    modified: datetime
    etag: str
    checksum: str | None = None
    """S3's SHA-256, if it was asked for and the uploader gave one."""


@dataclass(frozen=True)
class Unfinished:
    """An upload in parts that was begun and not ended."""

    key: str
    upload_id: str
    begun: datetime


class ModelBucket:
    """One bucket. It may be shared by threads.

    Each method raises `BucketError`.
    """

    def __init__(self, client: S3Client, name: str) -> None:
        self._s3 = client
        self.name = name

    def models(self) -> Iterator[StoredModel]:
        """Yields all objects by key; without their checksums."""
        with self._told():
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name):
                for item in page.get("Contents", []):
                    yield StoredModel(item["Key"], item["Size"], item["LastModified"], item["ETag"])

    def model(self, key: str) -> StoredModel | None:
        """Returns an object with its checksum, or None."""
        try:
            with self._told():
                found = self._s3.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except BucketError as error:
            if isinstance(error.__cause__, ClientError) and _code(error.__cause__) in _GONE:
                self._must_exist()
                return None
            raise
        return StoredModel(
            key, found["ContentLength"], found["LastModified"], found["ETag"], found.get("ChecksumSHA256")
        )

    def unfinished(self, prefix: str = "") -> list[Unfinished]:
        """Returns the uploads that were not ended, the last one first."""
        with self._told():
            found = [
                Unfinished(item["Key"], item["UploadId"], item["Initiated"])
                for page in self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
                for item in page.get("Uploads", [])
            ]
        return sorted(found, key=lambda item: item.begun, reverse=True)

    def sent_parts(self, upload: Unfinished) -> dict[int, SentPart]:
        """Returns the parts that an unfinished upload has, by number."""
        with self._told():
            return {
                item["PartNumber"]: SentPart(item["PartNumber"], item["Size"], item["ETag"], item.get("ChecksumSHA256"))
                for page in self._s3.get_paginator("list_parts").paginate(
                    Bucket=self.name, Key=upload.key, UploadId=upload.upload_id
                )
                for item in page.get("Parts", [])
            }

    def begin(self, key: str) -> str:
        """Begins an upload in parts; returns its id."""
        with self._told():
            return self._s3.create_multipart_upload(Bucket=self.name, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]

    def send(self, key: str, upload_id: str, number: int, data: bytes, checksum: str) -> SentPart:
        """Sends a part; S3 checks it by its checksum."""
        with self._told():
            answer = self._s3.upload_part(
                Bucket=self.name, Key=key, UploadId=upload_id, PartNumber=number, Body=data, ChecksumSHA256=checksum
            )
        return SentPart(number, len(data), answer["ETag"], checksum)

    def complete(self, key: str, upload_id: str, parts: list[SentPart], *, replace: bool) -> None:
        """Makes an object of the parts.

        Raises:
            AlreadyThereError: there is an object already, and it may not be replaced.
        """
        listed: Any = [
            {"PartNumber": part.number, "ETag": part.etag, "ChecksumSHA256": part.checksum} for part in parts
        ]
        with self._told():
            self._s3.complete_multipart_upload(
                Bucket=self.name, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}, **_condition(replace)
            )

    def abort(self, upload: Unfinished) -> None:
        """Throws the parts of an unfinished upload away."""
        with self._told():
            self._s3.abort_multipart_upload(Bucket=self.name, Key=upload.key, UploadId=upload.upload_id)

    def put(self, key: str, data: bytes, checksum: str, *, replace: bool) -> None:
        """Stores an object in one piece.

        Raises:
            AlreadyThereError: there is an object already, and it may not be replaced.
        """
        with self._told():
            self._s3.put_object(Bucket=self.name, Key=key, Body=data, ChecksumSHA256=checksum, **_condition(replace))

    @contextmanager
    def open(self, model: StoredModel, start: int = 0, end: int | None = None) -> Iterator[BinaryIO]:
        """Opens the bytes of an object from `start` up to `end`, which is left out; only if it is still the same."""
        last = "" if end is None else str(end - 1)
        with self._told():
            answer = self._s3.get_object(
                Bucket=self.name, Key=model.key, Range=f"bytes={start}-{last}", IfMatch=model.etag
            )
            body = answer["Body"]
            try:
                yield cast("BinaryIO", body)
            finally:
                body.close()

    def _must_exist(self) -> None:
        """A HEAD has no body that could tell an absent object from an absent bucket."""
        with self._told():
            self._s3.head_bucket(Bucket=self.name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = _code(error)
            message = " ".join(str(error.response.get("Error", {}).get("Message", error)).split())
            if code in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                raise AlreadyThereError(f"another upload was first: {message}") from error
            if code == "NoSuchBucket" or (code == "404" and error.operation_name == "HeadBucket"):
                message = "there is no such bucket; name another with --bucket"
            raise BucketError(f"bucket {self.name}: {message} ({code})") from error
        except BotoCoreError as error:
            raise BucketError(f"bucket {self.name}: {' '.join(str(error).split())}") from error


def _condition(replace: bool) -> Any:
    """Returns what lets S3 refuse a write where there is an object already."""
    return {} if replace else {"IfNoneMatch": "*"}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
