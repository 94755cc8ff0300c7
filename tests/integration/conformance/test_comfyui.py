"""The fake ComfyUI behaves as stated, case by case; as another version, in what versions differ."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from contract.task import RuntimeType
from tests.conformance.case import Case
from tests.conformance.run import choose
from tests.conformance.suites import SUITES
from tests.integration.conformance.programs import Program, cases, running

OTHERS = [
    ("0.3.64", ["refuses-*", "own-*", "same-id-twice", "fails-at-*", "folder-as-a-file", "*animation*", "*queue*"]),
    ("0.38", ["features*", "assets", "files-are-assets", "history-of-*", "cached-rerun", "jobs-list", "view-*"]),
]
"""Versions that are not the default one, and the cases in which something may be different there."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with running(RuntimeType.COMFYUI, tmp_path_factory.mktemp("comfyui")) as program:
        yield program


# Assets are off by default up to about 0.38, which is asked below.
CASES = [case for case in cases(RuntimeType.COMFYUI) if case.name != "files-are-assets"]


@pytest.mark.parametrize("case", CASES, ids=attrgetter("name"))
async def test_it_behaves_as_stated(program: Program, case: Case) -> None:
    await program.check(case)


@pytest.mark.parametrize(("version", "names"), OTHERS)
async def test_other_versions_behave_as_stated(tmp_path: Path, version: str, names: list[str]) -> None:
    with running(RuntimeType.COMFYUI, tmp_path, "--comfyui-version", version) as program:
        for case in choose(SUITES[RuntimeType.COMFYUI].cases, only=names):
            await program.check(case, may_not_apply=version == "0.3.64")
