"""What a request says itself of its links: which are to be fetched, and which are to stay as they are.

Usually the agent knows: ComfyUI tells which of a node's inputs are files, and SD Web UI's fields have names. Where it
is wrong about one value, `metadata.inputs` names that value by a JSON Pointer (RFC 6901) into the task's content:
`{"fetch": ["/10/inputs/url"], "keep": ["/12/inputs/image"]}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

MOST: Final = 50
"""Values that one request may name in each list."""

type Path = tuple[str, ...]
"""The keys and indexes that lead to a value, as the pointer has them."""

Pointer = Annotated[str, Field(pattern=r"^(?:/(?:[^~/]|~[01])*)+$", max_length=500)]


class InputRules(BaseModel):
    """The values of a content that the request itself speaks of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fetch: Annotated[
        tuple[Pointer, ...],
        Field(
            max_length=MOST, description="JSON Pointers into the content: links that are fetched wherever they stand."
        ),
    ] = ()
    keep: Annotated[
        tuple[Pointer, ...],
        Field(max_length=MOST, description="JSON Pointers into the content: texts that are left as they are."),
    ] = ()

    @property
    def fetched(self) -> frozenset[Path]:
        """Where `fetch` leads."""
        return frozenset(path_of(pointer) for pointer in self.fetch)

    @property
    def kept(self) -> frozenset[Path]:
        """Where `keep` leads."""
        return frozenset(path_of(pointer) for pointer in self.keep)


NO_RULES: Final = InputRules()

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,6}")
"""RFC 6901, section 4: no zeros in front, which would name the value by a second name."""

_OPENED_BY_THE_SERVER: Final = frozenset({"init_images", "mask", "image", "imageList"})
"""Fields of SD Web UI's requests in which the server itself opens what begins as an address."""

_OF_SCRIPTS: Final = re.compile("controlnet|image|mask|img|picture|photo", re.IGNORECASE)
"""Scripts, and fields of scripts, that do the same: they read pictures by the server's own `decode_base64_to_image`, as
sd-webui-controlnet does (scripts/external_code.py), whose arguments may be a mere list."""


def path_of(pointer: str) -> Path:
    """Returns the keys and indexes of a pointer."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def problems(rules: InputRules, content: Any, runtime_type: str) -> Iterator[tuple[str, str]]:
    """Yields what is wrong with rules: the place within them (such as `fetch.0`) and a sentence.

    Args:
        rules: as the request has them.
        content: of the same request.
        runtime_type: of the runtime that is to run it, as in `config.yaml`.
    """
    for name, pointers in (("fetch", rules.fetch), ("keep", rules.keep)):
        for index, pointer in enumerate(pointers):
            if (wrong := _problem(name, pointer, content, runtime_type)) is not None:
                yield f"{name}.{index}", f"{pointer!r} {wrong}"
    for pointer in sorted(set(rules.fetch) & set(rules.keep)):
        yield "keep", f"{pointer!r} is in fetch too"


def _problem(name: str, pointer: str, content: Any, runtime_type: str) -> str | None:
    path = path_of(pointer)
    try:
        value = _value_at(content, path)
    except LookupError:
        return "names nothing in the content; it is a JSON Pointer, such as /10/inputs/url"
    if not isinstance(value, str):
        return "names no text; only texts are links"
    return _runtimes_problem(name, path, value, runtime_type)


def _runtimes_problem(name: str, path: Path, value: str, runtime_type: str) -> str | None:
    if runtime_type == "invokeai":
        return "is not taken for InvokeAI, where links count as image_name and nowhere else"
    if runtime_type == "comfyui" and not _is_node_input(path):
        return "names no input of a node; write /{node}/inputs/{name}"
    if name == "fetch" and value.strip().partition("://")[0].lower() not in {"http", "https", "s3"}:
        return "names no http, https or s3 link"
    if name == "keep" and runtime_type == "openai" and value.strip().partition(":")[0].lower() != "data":
        return "cannot be kept: such a server may open the address itself"
    if name == "keep" and runtime_type == "sdwebui" and _opened_by_server(path):
        return "cannot be kept: SD Web UI would open the address itself"
    return None


def _opened_by_server(path: Path) -> bool:
    return path[0] in _OPENED_BY_THE_SERVER or any(_OF_SCRIPTS.search(part) for part in path)


def _is_node_input(path: Path) -> bool:
    """Tells whether a path leads to an input, or to what an object in one holds (`/3/inputs/image/mask`)."""
    inner = path[1:] if path[:1] == ("prompt",) and path[1:2] != ("inputs",) else path
    return len(inner) in {3, 4} and inner[1] == "inputs"


def _value_at(content: Any, path: Path) -> Any:
    """Returns the value at a path.

    Raises:
        LookupError: there is none.
    """
    for part in path:
        if isinstance(content, dict):
            content = content[part]
        elif isinstance(content, list) and _INDEX.fullmatch(part):
            content = content[int(part)]
        else:
            raise LookupError(part)
    return content
