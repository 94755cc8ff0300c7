"""The web page's framework, taken from its packages as it is: `python -m tests.support.vendored` fetches it anew.

`api/static/vendor/sources.json` names package, version and licence of each file, and the file's digest. A new version:
change it there, run this, look at the difference. npm checks each package against its registry's own digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[2] / "api" / "static" / "vendor"
SOURCES: Final = FOLDER / "sources.json"
LICENCES: Final = "LICENSES.txt"

_MODULES: Final = {
    "preact": "./preact.js",
    "preact/hooks": "./hooks.js",
    "@preact/signals-core": "./signals-core.js",
}
"""A browser without a build step finds modules by address alone."""


def sources() -> dict[str, dict[str, Any]]:
    """Returns what is known of each file, by its name."""
    found: dict[str, dict[str, Any]] = json.loads(SOURCES.read_text())
    return found


def digest(body: bytes) -> str:
    """Returns what `sha256` is in the sources."""
    return hashlib.sha256(body).hexdigest()


def as_served(text: str) -> str:
    """Returns a module of a package with addresses for names, and without its link to a map that is not served."""
    text = re.sub(r'(?<=from)"([^".][^"]*)"', lambda found: f'"{_MODULES[found[1]]}"', text)
    return re.sub(r"\n?//# sourceMappingURL=\S+\s*$", "\n", text)


def fetch() -> None:
    """Writes every file, the licences, and the digests, from the packages at the versions that the sources name."""
    known = sources()
    licences: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, source in known.items():
            package = f"{source['package']}@{source['version']}"
            command = ["npm", "pack", "--silent", package]
            packed = subprocess.run(command, cwd=temporary, check=True, capture_output=True, text=True).stdout.strip()
            with tarfile.open(Path(temporary) / packed) as archive:
                body = as_served(_read(archive, source["path"])).encode()
                licences[package] = _read(archive, "LICENSE")
            (FOLDER / name).write_bytes(body)
            source["sha256"] = digest(body)
    (FOLDER / LICENCES).write_text("\n".join(f"{package}\n\n{text}" for package, text in licences.items()))
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(source)}" for name, source in known.items())
    SOURCES.write_text(f"{{\n{lines}\n}}\n")


def _read(archive: tarfile.TarFile, path: str) -> str:
    member = archive.extractfile(f"package/{path}")
    assert member is not None, path
    return member.read().decode()


if __name__ == "__main__":
    fetch()
