"""Asks the operator's own server whether a result may be stored."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any, Final

import aiohttp
import structlog
from pydantic import SecretStr

from agent.aws import backoff
from agent.errors import PermanentError, TransientError
from agent.holdings import Held
from agent.media import SIGNATURE_SIZE, output_type
from agent.runtimes.base import Answer
from contract.outputs import OutputCheck, WhenUnanswered

log = structlog.get_logger()

_MOST_ANSWER: Final = 64 * 1024
_MOST_REASON: Final = 500


class UnansweredError(Exception):
    """The server gives no verdict; the text says why."""


class Check:
    """The server that `outputs.check` names.

    Args:
        session: for it alone. Its address is the operator's word, so the rules for links of tasks do not hold.
        rules: where it is, and what its silence means.
        token: sent as `Authorization: Bearer`; nothing when empty.
    """

    def __init__(self, session: aiohttp.ClientSession, rules: OutputCheck, token: SecretStr) -> None:
        self._session = session
        self._rules = rules
        self._headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token.get_secret_value() else {}

    async def judge(self, held: Held, answer: Answer) -> tuple[str, ...]:
        """Returns once a result may be stored, with what its record is to be warned of.

        Raises:
            PermanentError: the server refuses the result.
            TransientError: it gives no verdict, and none means no.
        """
        for number in range(1, self._rules.tries + 1):
            try:
                reason = await self._ask(held, answer)
            except UnansweredError as error:
                words = str(error)
                log.warning("output_check_unanswered", error=words, tries=number)
            else:
                if reason is None:
                    return ()
                log.info("output_refused", reason=reason)
                raise PermanentError("output_refused", f"the result was refused before it was stored: {reason}")
            if number < self._rules.tries:
                await asyncio.sleep(backoff(number))
        if self._rules.when_unanswered is WhenUnanswered.ACCEPT:
            return (f"the output check gave no verdict ({words}); the result was stored unseen",)
        raise TransientError("output_check_failed", f"the output check gave no verdict: {words}")

    async def _ask(self, held: Held, answer: Answer) -> str | None:
        """Returns why the result is refused; None: it is not.

        Raises:
            UnansweredError: no verdict.
        """
        try:
            async with self._session.post(
                self._rules.url,
                data=_form(held, answer),
                headers=self._headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._rules.timeout_seconds),
            ) as response:
                body = await response.content.read(_MOST_ANSWER)
        except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
            raise UnansweredError(type(error).__name__) from error
        return read_verdict(response.status, body)


def read_verdict(status: int, body: bytes) -> str | None:
    """Returns why an answer refuses the result; None: it may be stored.

    Raises:
        UnansweredError: it is no verdict.
    """
    if status == 204:
        return None
    if status != 200:
        raise UnansweredError(f"status {status}")
    try:
        verdict = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnansweredError("status 200 without JSON") from error
    allow = verdict.get("allow") if isinstance(verdict, dict) else None
    if not isinstance(allow, bool):
        raise UnansweredError('status 200 without {"allow": true} or {"allow": false}')
    if allow:
        return None
    return " ".join(str(verdict.get("reason") or "").split())[:_MOST_REASON] or "no reason was given"


def _form(held: Held, answer: Answer) -> aiohttp.FormData:
    """Returns what is sent: `task`, and each file as `file`, in the order of their numbers."""
    metadata = held.metadata
    kinds = [output_type(output.name, output.data[:SIGNATURE_SIZE]) for output in answer.outputs]
    task: dict[str, Any] = {
        "id": metadata.id,
        "tenant": metadata.tenant,
        "submission": held.submission_id,
        "attempt": held.attempt,
        "runtime": metadata.runtime,
        "tasktype": metadata.tasktype,
        "files": [
            {"number": number, "media_type": kind.content_type, "bytes": len(output.data)}
            for number, (output, kind) in enumerate(zip(answer.outputs, kinds, strict=True), 1)
        ],
    }
    form = aiohttp.FormData()
    form.add_field("task", json.dumps(task))
    for number, (output, kind) in enumerate(zip(answer.outputs, kinds, strict=True), 1):
        # As a file: aiohttp sends it piece by piece.
        form.add_field(
            "file", io.BytesIO(output.data), filename=f"{number}.{kind.extension}", content_type=kind.content_type
        )
    return form
