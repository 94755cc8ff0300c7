"""Records the nodes of a real ComfyUI, custom ones included, so that the fake can play them back.

``python -m fake_runtime.comfyui.record --url http://127.0.0.1:8188``
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 120
"""A server with many custom nodes looks through all its model folders before it answers."""

_KEPT = ("input", "input_order", "is_input_list", "output", "output_is_list", "output_name", "name", "output_node")
_PROSE = frozenset({"tooltip", "display_name", "description", "placeholder"})


def strip(told: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `/object_info` tells without its prose: names, types, choices, defaults, bounds and outputs stay.

    Names of files that somebody has uploaded go as well.
    """
    return {
        name: {key: _without_prose(entry[key]) for key in _KEPT if key in entry}
        for name, entry in sorted(told.items())
        if isinstance(entry, dict) and isinstance(entry.get("input"), dict)
    }


def _without_prose(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and _takes_uploads(value[1]):
        kind, config = value
        config = {key: [] if key == "options" else item for key, item in config.items()}
        value = [[] if isinstance(kind, list) else kind, config]
    if isinstance(value, dict):
        return {key: _without_prose(item) for key, item in value.items() if key not in _PROSE or isinstance(item, list)}
    return [_without_prose(item) for item in value] if isinstance(value, list) else value


def _takes_uploads(config: Any) -> bool:
    return isinstance(config, dict) and any(key.endswith("_upload") and value for key, value in config.items())


def fetch(url: str) -> dict[str, Any]:
    """Returns what a server tells of its nodes.

    Raises:
        SystemExit: it cannot be asked, or is no ComfyUI.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise SystemExit(f"record: --url must be an http address, such as http://127.0.0.1:8188; found {url!r}")
    address = f"{url.rstrip('/')}/object_info"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - http only, see above
            document = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise SystemExit(f"record: {address} does not answer as a ComfyUI does: {error}") from error
    found = strip(document) if isinstance(document, dict) else {}
    if not found:
        raise SystemExit(f"record: {address} tells of no nodes; is there a ComfyUI at this address?")
    return found


def write(path: Path, catalogue: Mapping[str, Any]) -> int:
    """Writes a catalogue, whole or not at all; returns its size in bytes."""
    data = gzip.compress(json.dumps(catalogue, separators=(",", ":")).encode(), mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    Path(name).chmod(0o644)
    Path(name).replace(path)
    return len(data)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="record", description=__doc__, allow_abbrev=False)
    parser.add_argument("--url", required=True, help="the ComfyUI, such as http://127.0.0.1:8188")
    parser.add_argument(
        "--output", type=Path, default=Path(".darkroom/catalogue.json.gz"), help="the file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    sys.stderr.write(f"asking {arguments.url} for its nodes (with many custom nodes this takes a while) …\n")
    catalogue = fetch(arguments.url)
    try:
        size = write(arguments.output, catalogue)
    except OSError as error:
        raise SystemExit(f"record: {arguments.output} cannot be written: {error.strerror}") from error
    outputs = sum(1 for entry in catalogue.values() if entry.get("output_node"))
    sys.stdout.write(
        f"{arguments.output}: {len(catalogue)} nodes, {outputs} of them output nodes, {size / 1000:.0f} kB\n"
        f"play it back: FAKE_RUNTIME_CATALOGUE={arguments.output} uvx nox -s up\n"
        f"with Compose: COMFYUI_CATALOGUE={arguments.output} docker compose up --wait\n"
    )


if __name__ == "__main__":
    main()
