"""Has files signed by a process of their own, beside the agent's work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pydantic import SecretStr

from agent.errors import PermanentError, TransientError
from agent.marks.facts import Facts
from agent.marks.frames import read_frame, write_frame
from agent.media import JPEG, MP4, PNG, SIGNATURE_SIZE, WEBP, media_type_of, output_type
from agent.runtimes.base import Answer, Output
from contract.outputs import OutputRules, Unmarked

log = structlog.get_logger()

MARKED: Final = frozenset({kind.content_type for kind in (PNG, JPEG, WEBP, MP4)})
"""Media types of files that are marked."""

_SECONDS: Final = 60.0
"""That one answer may take, and longer by the next line's rate."""

_BYTES_PER_SECOND: Final = 5_000_000
_TRIES: Final = 2
"""Processes that may die at an answer."""

_INHERITED: Final = ("PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LANG", "LD_LIBRARY_PATH")
"""What the process gets of the agent's environment; its AWS credentials are not among it."""


class WrongSignerError(Exception):
    """The key or a certificate cannot be used; the text says why."""


class _DiedError(Exception):
    """The process has ended, or was ended for taking too long."""


class Signer:
    """The process that signs, started again when it has died. It marks one answer at a time.

    Args:
        pem: private key and certificates.
        rules: what is told, and what becomes of a file that cannot be marked.
        runtime: what makes the files, for their manifests.
    """

    def __init__(self, pem: SecretStr, rules: OutputRules, *, runtime: str) -> None:
        self._pem = pem
        self._rules = rules
        self._runtime = runtime
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Starts the process, and signs for a try.

        Raises:
            WrongSignerError: by this key or these certificates nothing can be signed.
        """
        async with self._turn:
            try:
                await self._asked_once(None, [])
            except TransientError as error:
                raise WrongSignerError("the process that signs does not start; it has said why") from error

    async def mark(self, answer: Answer, facts: Facts, *, tenant: str, title: str) -> Answer:
        """Returns an answer whose PNG, JPEG, WebP and MP4 files have content credentials; others stay as they are.

        Args:
            answer: what a run made.
            facts: how, by its request.
            tenant: whose it is.
            title: of the files, to which each one's number is added.

        Raises:
            PermanentError: a file cannot be marked.
            TransientError: the process died of it, twice, or cannot sign any more.
        """
        numbers = [number for number, output in enumerate(answer.outputs) if _media_type(output)]
        if not numbers:
            return answer
        request = {
            "files": [
                {"type": _media_type(answer.outputs[number]), "title": f"{title}-{number + 1}"} for number in numbers
            ],
            "facts": {
                "models": facts.models,
                "seeds": facts.seeds,
                "prompts": facts.prompts,
                "workflow": facts.workflow,
            },
            "told": self._rules.told(tenant),
            "runtime": self._runtime,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        header, blobs = await self._ask(request, [*(answer.outputs[number].data for number in numbers), answer.raw])
        outputs, warnings = list(answer.outputs), list(answer.warnings)
        for number, data, error in zip(numbers, blobs, header["errors"], strict=False):
            outputs[number] = Output(data, outputs[number].name)
            if error:
                message = f"file {number + 1} ({_media_type(outputs[number])}) cannot get content credentials: {error}"
                log.warning("file_not_marked", number=number + 1, error=error)
                if self._rules.unmarked is Unmarked.FAIL:
                    raise PermanentError("credentials_failed", message)
                warnings.append(message)
        return Answer(outputs, blobs[-1], tuple(warnings))

    async def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def _ask(self, request: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        async with self._turn:
            for number in range(1, _TRIES + 1):
                try:
                    return await self._asked_once(request, blobs)
                except TransientError:
                    if number == _TRIES:
                        raise
                except WrongSignerError as error:
                    # It could at the start; a certificate runs out.
                    raise TransientError("credentials_failed", f"nothing can be signed any more: {error}") from error
        raise AssertionError("the last try has raised")

    async def _asked_once(
        self, request: dict[str, Any] | None, blobs: list[bytes]
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Asks a process, which is started when there is none; it is ended when its answer is not waited for."""
        seconds = _SECONDS + sum(map(len, blobs)) / _BYTES_PER_SECOND
        asking = asyncio.create_task(asyncio.to_thread(self._exchange, request, blobs))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(asking)
        except (TimeoutError, _DiedError) as error:
            log.warning("signing_process_died", error=type(error).__name__)
            raise TransientError(
                "credentials_failed", "the process that signs content credentials has ended at this task's files"
            ) from error
        finally:
            if not asking.done():
                if self._process is not None:
                    self._process.kill()
                await asyncio.wait({asking})
                asking.exception()

    def _exchange(self, request: dict[str, Any] | None, blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        """Writes a request and reads its answer; blocks, and runs in a thread."""
        try:
            process = self._process or self._started()
            if request is None:
                return {}, []
            return _talk(process, request, blobs)
        except (EOFError, OSError) as error:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None
            raise _DiedError from error

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "agent.marks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # A terminal's Ctrl-C is for the agent, which ends this process when nothing is left to be signed.
            start_new_session=True,
        )
        header, _ = _talk(process, {"signer": self._pem.get_secret_value()}, [])
        if "error" in header:
            raise WrongSignerError(header["error"])
        return process


def _talk(
    process: subprocess.Popen[bytes], header: dict[str, Any], blobs: list[bytes]
) -> tuple[dict[str, Any], list[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    write_frame(process.stdin, header, blobs)
    return read_frame(process.stdout)


def _media_type(output: Output) -> str:
    """Returns under which type a file is marked; empty when it is not.

    What it is by its bytes counts, whatever a workflow calls it, and what it claims to be by its name: a file that is
    delivered as PNG, and is none, is not let through unmarked.
    """
    head = output.data[:SIGNATURE_SIZE]
    for kind in (media_type_of(head), output_type(output.name, head)):
        if kind is not None and kind.content_type in MARKED:
            return kind.content_type
    return ""
