"""The checkpoints that runtimes hold: looks for them in the model bucket, and fetches those that are lacking."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from rich.filesize import decimal

from cloud.aws import ToolError
from cloud.deployment.download import StoppedError, download, size_of
from cloud.deployment.steps import Work
from contract.config import Config, ModelSource

FOLDER: Final = "Stable-diffusion"
"""Where the reference keeps checkpoints in the model bucket."""

SAMPLES: Final = {
    "v1-5-pruned-emaonly.safetensors": ModelSource(
        url="https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/main/v1-5-pruned-emaonly.safetensors",
        sha256="6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
        license="CreativeML Open RAIL-M, https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    )
}
"""Stable Diffusion 1.5, which config.yaml names and the reference's script fetches (from an account that is gone)."""

_PART: Final = 16 * 2**20
"""Bytes; as `models push` cuts files, so that S3 has the checksum by which it knows them again."""

_TOLD_EVERY: Final = 10.0
"""Seconds."""


class Fetching:
    """Models that are being fetched and put into the bucket, while other steps go on."""

    def __init__(self, s3: Any, bucket: str, folder: Path) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._folder = folder
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._done: list[Future[None]] = []
        self.said = "not begun"
        """How far it is, for people."""

    def begin(self, models: Mapping[str, ModelSource]) -> None:
        """Begins, with one after the other; by their keys in the bucket."""
        self._done = [self._pool.submit(self._bring, key, source) for key, source in models.items()]

    def wait(self, work: Work) -> None:
        """Waits until all are in the bucket.

        Raises:
            ToolError: one cannot be had, is another file than it was to be, or S3 does not take it.
        """
        for future in self._done:
            while not wait([future], _TOLD_EVERY).done:
                work.report.detail(self.said)
            future.result()

    def close(self) -> None:
        """Ends what is under way; what has come so far stays for the next time."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def _bring(self, key: str, source: ModelSource) -> None:
        name = key.rpartition("/")[2]
        path = self._folder / name

        def came(size: int) -> None:
            self.said = f"{name}: {decimal(size)} have come"

        def went(size: int) -> None:
            if self._stop.is_set():
                raise StoppedError
            sent.append(size)
            self.said = f"{name}: {decimal(sum(sent))} are in the bucket"

        sent: list[int] = []
        download(source.url, path, source.sha256, advance=came, wanted=lambda: not self._stop.is_set())
        try:
            self._s3.upload_file(
                str(path),
                self._bucket,
                key,
                ExtraArgs={"ChecksumAlgorithm": "SHA256"},
                Config=TransferConfig(multipart_threshold=_PART + 1, multipart_chunksize=_PART),
                Callback=went,
            )
        except S3UploadFailedError as error:
            raise ToolError(str(error)) from error
        path.unlink(missing_ok=True)


def check_models(work: Work) -> None:
    """Looks for the checkpoints that runtimes hold: without them, an hour later, none makes an image.

    Raises:
        ToolError: one is missing that is not to be fetched, or cannot be; says how it comes there.
    """
    missing = missing_models(work)
    if not missing or work.without_models:
        return
    sources = sources_of(work.config)
    strange = [name for name in missing if name not in sources]
    if strange or not work.fetch_models:
        raise ToolError(_way_out(work, missing, strange))
    for name in missing:
        try:
            size = size_of(sources[name].url)
        except ToolError as error:
            raise ToolError(
                f"{error}; name another address in cloud.modelSources, such as a mirror, or bring the file yourself:\n"
                f"{_push(work, missing)}"
            ) from error
        terms = f", under {sources[name].license}" if sources[name].license else ""
        work.report.say(f"  note: {name}{f' ({decimal(size)})' if size else ''} comes from {sources[name].url}{terms}")


def begin_fetch(work: Work) -> None:
    """Begins to fetch what the bucket lacks: images are built and stacks deployed meanwhile."""
    missing = missing_models(work) if work.fetch_models and not work.without_models else []
    if not missing:
        work.report.detail("nothing to fetch")
        return
    sources = sources_of(work.config)
    work.fetching = Fetching(work.aws.client("s3"), work.config.model_bucket, work.folder.parent / "models")
    work.fetching.begin({f"{FOLDER}/{name}": sources[name] for name in missing})


def end_fetch(work: Work) -> None:
    """Waits for the models.

    Raises:
        ToolError: not all came.
    """
    if work.fetching is not None:
        work.fetching.wait(work)


def sources_of(config: Config) -> dict[str, ModelSource]:
    """Returns where models come from, by their file names; what the config says comes first."""
    return SAMPLES | config.cloud.model_sources


def missing_models(work: Work) -> list[str]:
    """Returns the file names of the checkpoints that the bucket lacks."""
    wanted = {item.static_checkpoint for item in work.config.runtimes if item.static_checkpoint}
    if not wanted or not work.config.model_bucket:
        return []
    return sorted(wanted - _models_in(work.aws.client("s3"), work.config.model_bucket))


def _models_in(s3: Any, bucket: str) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{FOLDER}/")
    try:
        return {item["Key"].removeprefix(f"{FOLDER}/") for page in pages for item in page.get("Contents", [])}
    except s3.exceptions.NoSuchBucket:  # on a dry run, before it is made
        return set()


def _way_out(work: Work, missing: list[str], strange: list[str]) -> str:
    bucket, sources = work.config.model_bucket, sources_of(work.config)
    lines = [f"the model bucket {bucket} lacks {', '.join(f'{FOLDER}/{name}' for name in missing)}; bring it there:"]
    if not strange:
        terms = " and ".join(dict.fromkeys(sources[name].license for name in missing if sources[name].license))
        lines.append(f"add --fetch-models to this command{f', if you agree to {terms}' if terms else ''}; or by hand:")
    elif not work.fetch_models:
        lines.append(f"(--fetch-models does it where cloud.modelSources names url and sha256 of {', '.join(strange)})")
    else:
        lines.append(f"(--fetch-models needs url and sha256 of {', '.join(strange)} in cloud.modelSources)")
    lines += [f"curl --location --remote-name {sources[name].url}" for name in missing if name in sources]
    lines.append(_push(work, missing))
    lines.append("or go on without, with --without-models, and push them later")
    return "\n".join(lines)


def _push(work: Work, missing: list[str]) -> str:
    profile = os.environ.get("AWS_PROFILE", "default")
    return (
        f"uvx nox -s models -- push {' '.join(missing)} --folder {FOLDER} --bucket {work.config.model_bucket} "
        f"--profile {profile}"
    )
