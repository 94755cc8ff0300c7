"""What servers of OpenAI's image API tell of their environment: the models that they serve, and vLLM its version."""

from __future__ import annotations

from agent.runtimes.http import Server
from agent.runtimes.telling import ask, entries, told, word
from contract.environment import MOST_MODELS, Lock, ModelFile
from contract.task import RuntimeType


async def read_environment(server: Server) -> Lock:
    """Returns what the server tells.

    Raises:
        RuntimeUnavailableError, TransientError: it does not answer.
    """
    listed = entries(told(await ask(server, "/v1/models"), "data"))
    owners = {owner for item in listed or () if (owner := word(item.get("owned_by"))) is not None}
    models = tuple(ModelFile(name=name) for item in listed or () if (name := word(item.get("id"))) is not None)
    return Lock(
        type=RuntimeType.OPENAI,
        server=", ".join(sorted(owners)[:3]) or None,
        version=word(told(await ask(server, "/version"), "version")),
        models=models if listed is not None and len(models) <= MOST_MODELS else None,
    )
