"""The packages of the ComfyUI image can be had together, by the hashes that are pinned."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONSTRAINTS = ROOT / "local/runtimes/comfyui/constraints.txt"


def test_the_pinned_packages_are_found_by_their_hashes_and_suit_each_other(tmp_path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the PATH")
    arguments = ["--dry-run", "--require-hashes", "--only-binary=:all:", "--target", str(tmp_path)]
    platform = ["--python-version=3.13", "--python-platform=x86_64-manylinux_2_28"]
    done = subprocess.run(
        [uv, "pip", "install", *arguments, *platform, "-r", str(CONSTRAINTS)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE))
    wanted = re.findall(r"^ \+ (\S+)==(\S+)", done.stderr, re.MULTILINE)
    assert dict(wanted) == pinned
    assert {"torch", "torchvision", "torchaudio", "av", "comfy-kitchen", "blake3"} <= pinned.keys()
