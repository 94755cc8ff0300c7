"""What ComfyUI tells of its environment.

`/system_stats` has its versions and options, `/experiment/models` the model files with their sizes (before it,
`/models` has names alone), `python_module` in `/object_info` the node packs, and ComfyUI-Manager their versions where
it is there. None of them tells a digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final
from urllib.parse import quote

from agent.runtimes.http import Server
from agent.runtimes.telling import ask, count, entries, python_version, told, word
from contract.environment import MOST_MODELS, Extension, Lock, ModelFile
from contract.task import RuntimeType

_NO_MODELS: Final = frozenset({"configs", "custom_nodes", "datasets"})
"""Folders that the server lists beside those of models."""

_SHAPING: Final = (
    "--bf16-", "--cpu", "--deterministic", "--directml", "--disable-xformers", "--dont-upcast-attention", "--fast",
    "--force-", "--fp", "--supports-fp8-compute", "--use-",
)  # fmt: skip
"""How those of its options begin that change the pictures (comfy/cli_args.py); others are paths, ports and memory."""

_PACKS: Final = "custom_nodes."

_INSTALLED: Final = ("/v2/customnode/installed", "/customnode/installed")
"""Of ComfyUI-Manager, 4 and 3: `{folder: {"ver": …, "cnr_id": …, "aux_id": …, "enabled": …}}`."""


def packs_of(nodes: Mapping[str, Any]) -> frozenset[str]:
    """Returns the node packs that the classes of `/object_info` come from, those of ComfyUI itself left out."""
    modules = (told(entry, "python_module") for entry in nodes.values())
    return frozenset(
        module.removeprefix(_PACKS)[:300] for module in modules if isinstance(module, str) and module.startswith(_PACKS)
    )


async def read_environment(server: Server, packs: frozenset[str]) -> Lock:
    """Returns what the server tells.

    Args:
        server: it.
        packs: the node packs that it has classes of.

    Raises:
        RuntimeUnavailableError, TransientError: it does not answer.
    """
    system = told(await ask(server, "/system_stats"), "system")
    torch = word(told(system, "pytorch_version"))
    companions = {
        name: version
        for item in entries(told(system, "comfy_package_versions")) or ()
        if (name := word(item.get("name"))) and (version := word(item.get("installed")))
    }
    argv = told(system, "argv")
    options = [item for item in argv if isinstance(item, str)] if isinstance(argv, list) else []
    return Lock(
        type=RuntimeType.COMFYUI,
        version=word(told(system, "comfyui_version")),
        packages={
            **companions,
            **python_version(told(system, "python_version")),
            **({"pytorch": torch} if torch else {}),
        },
        extensions=await _extensions(server, packs),
        models=await _models(server),
        settings=_shaping(options),
    )


def _shaping(options: list[str]) -> dict[str, bool | str]:
    """Returns the options of a command line that change pictures, with their values where they have some."""
    found: dict[str, bool | str] = {}
    for option, following in pairwise([*options, "--"]):
        name, equals, value = option.partition("=")
        if name.startswith(_SHAPING):
            found[name] = value if equals else True if following.startswith("-") else following[:100]
    return found


async def _extensions(server: Server, packs: frozenset[str]) -> tuple[Extension, ...]:
    installed: Any = None
    for path in _INSTALLED:
        installed = await ask(server, path)
        if isinstance(installed, dict):
            break
    known = installed if isinstance(installed, dict) else {}
    enabled = {name[:300] for name, entry in known.items() if told(entry, "enabled") is not False}
    return tuple(Extension(name=name, version=word(told(known.get(name), "ver"))) for name in sorted(packs | enabled))


async def _models(server: Server) -> tuple[ModelFile, ...] | None:
    listed = entries(await ask(server, "/experiment/models"))
    if listed is not None:
        folders, root = [item.get("name") for item in listed], "/experiment/models"
    else:
        names = await ask(server, "/models")
        if not isinstance(names, list):
            return None
        folders, root = names, "/models"
    found: list[ModelFile] = []
    for folder in folders:
        if not isinstance(folder, str) or folder in _NO_MODELS:
            continue
        files = await ask(server, f"{root}/{quote(folder, safe='')}")
        found.extend(
            ModelFile(folder=folder[:100], name=name, size=count(told(item, "size")))
            for item in (files if isinstance(files, list) else ())
            if (name := word(item if isinstance(item, str) else told(item, "name"))) is not None
        )
        if len(found) > MOST_MODELS:
            return None
    return tuple(found)
