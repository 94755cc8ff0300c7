"""What a runtime of one's own tells of its environment: `GET /environment`, if it has that (docs/conformance.md)."""

from __future__ import annotations

from pydantic import ValidationError

from agent.runtimes.http import Server
from agent.runtimes.telling import ask
from contract.environment import Lock
from contract.task import RuntimeType


async def read_environment(server: Server) -> Lock:
    """Returns what the server tells; nothing, where what it tells is no environment.

    Raises:
        RuntimeUnavailableError, TransientError: it does not answer.
    """
    document = await ask(server, "/environment")
    told = document if isinstance(document, dict) else {}
    try:
        return Lock.model_validate({**told, "type": RuntimeType.HTTP, "fake": False, "image": None})
    except ValidationError:
        return Lock(type=RuntimeType.HTTP)
