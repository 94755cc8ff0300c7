"""What an answer goes through between its run and S3, where the operator asks for it: a check, then a mark.

It happens beside the next run, while the answer holds one of the few places of `agent.results`, which bounds memory.
Nothing has been stored before: an agent that dies here leaves no trace, and the task is made again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from agent.check import Check
from agent.errors import TaskError
from agent.holdings import Held
from agent.marks.facts import Facts, facts_of_request
from agent.marks.signer import Signer
from agent.operations.metrics import Metrics
from agent.outcomes import Answered, Outcome, Raised
from agent.settings import Settings
from contract.runtimes import KINDS
from contract.secret_store import read_secrets


class Release:
    """The gate before S3.

    Args:
        check: may refuse a result; None: nobody does.
        signer: marks its files; None: nobody does.
        metrics: gets the seconds of both.
    """

    def __init__(self, check: Check | None, signer: Signer | None, metrics: Metrics) -> None:
        self._check = check
        self._signer = signer
        self._metrics = metrics

    def note_request(self, held: Held, content: dict[str, object]) -> None:
        """Keeps what the marks will tell of a request, before its content is let go."""
        if self._signer is not None:
            held.facts = facts_of_request(content)

    async def pass_through(self, held: Held, outcome: Answered) -> Outcome:
        """Returns the outcome as it may be stored, or why it may not."""
        if held.starting is not None:
            await held.starting
        if held.refused is not None:
            return outcome  # somebody else's by now, or cancelled: it will not be stored
        answer = outcome.answer
        try:
            if self._check is not None and answer.outputs:
                began = time.monotonic()
                warnings = await self._check.judge(held, answer)
                self._metrics.phases.labels("check").observe(time.monotonic() - began)
                answer = replace(answer, warnings=(*answer.warnings, *warnings))
            if self._signer is not None:
                began = time.monotonic()
                answer = await self._signer.mark(
                    answer, held.facts or Facts(), tenant=held.metadata.tenant, title=held.metadata.id
                )
                self._metrics.phases.labels("mark").observe(time.monotonic() - began)
        except TaskError as error:
            # Without its traceback, whose frames hold the answer.
            return Raised(type(error)(error.code, error.message))
        return Answered(answer, outcome.seconds)


@asynccontextmanager
async def open_release(settings: Settings, metrics: Metrics) -> AsyncIterator[Release | None]:
    """Opens what the settings ask for; None when they ask for nothing.

    Raises:
        agent.marks.signer.WrongSignerError: nothing can be signed by the key and the certificates.
    """
    rules = settings.outputs
    if not rules.on:
        yield None
        return
    async with AsyncExitStack() as stack:
        check = signer = None
        if rules.check is not None:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            check = Check(session, rules.check, settings.output_check_token)
        if rules.content_credentials:
            pem = await _signer_pem(settings)
            signer = Signer(pem, rules, runtime=KINDS[settings.runtime_type].title)
            stack.push_async_callback(signer.close)
            await signer.start()
        yield Release(check, signer, metrics)


async def _signer_pem(settings: Settings) -> SecretStr:
    arn = settings.outputs.signing_secret_arn
    if arn and not settings.credentials_signer.get_secret_value():
        current, *_ = await read_secrets(arn, region=settings.aws_region, endpoint=settings.aws_endpoint_url)
        return current
    value = settings.credentials_signer.get_secret_value().strip()
    if value.startswith("-----"):
        return SecretStr(value)
    return SecretStr(await asyncio.to_thread(Path(value).read_text, encoding="utf-8"))
