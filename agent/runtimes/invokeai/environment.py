"""What InvokeAI tells of its environment: its version, its packages, and its models with their own digests."""

from __future__ import annotations

from agent.runtimes.http import Server
from agent.runtimes.telling import ask, count, entries, told, word, words
from contract.environment import MOST_MODELS, Lock, ModelFile
from contract.task import RuntimeType


async def read_environment(server: Server) -> Lock:
    """Returns what the server tells. Of custom nodes it tells nothing: they stay unknown.

    Raises:
        RuntimeUnavailableError, TransientError: it does not answer.
    """
    models = entries(told(await ask(server, "/api/v2/models/"), "models"))
    found = [
        ModelFile(
            folder=word(item.get("type")) or "",
            name=name,
            size=count(item.get("file_size")),
            # `blake3:…`, `random:…` and others: with their algorithm in front.
            digest=digest if (digest := word(item.get("hash"))) and not digest.startswith("random:") else None,
        )
        for item in models or ()
        if (name := word(item.get("name"))) is not None
    ]
    packages = words(await ask(server, "/api/v1/app/app_deps"))
    packages.pop("invokeai", None)
    return Lock(
        type=RuntimeType.INVOKEAI,
        version=word(told(await ask(server, "/api/v1/app/version"), "version")),
        packages=packages,
        models=tuple(found) if models is not None and len(found) <= MOST_MODELS else None,
    )
