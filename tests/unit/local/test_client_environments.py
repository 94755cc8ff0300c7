"""`darkroom environment`: found by how a hash begins, shown with what is unknown, and compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from contract.environment import Extension, Lock, ModelFile, describe_lock, differences
from contract.task import RuntimeType
from darkroom import RefusedError
from local.client import environments

LOCKS = {
    lock.hash: lock
    for lock in (
        Lock(type=RuntimeType.COMFYUI, version="1", extensions=(Extension(name="mine"),)),
        Lock(type=RuntimeType.COMFYUI, version="2", models=(ModelFile(folder="vae", name="a", size=7),)),
    )
}
OLD, NEW = LOCKS


class Client:
    """An API with one runtime that has told nothing, and one that has told of two environments."""

    def runtimes(self) -> list[dict[str, Any]]:
        return [{"name": "silent"}, {"name": "comfy"}]

    def environment(self, runtime: str, name: str | None = None, *, against: str | None = None) -> dict[str, Any]:
        if runtime == "silent":
            raise RefusedError("nothing yet", status=404, code="environment_not_known")
        name = name or NEW
        if name not in LOCKS:
            raise RefusedError("no such one", status=404, code="unknown_environment")
        found = differences(LOCKS[against], LOCKS[name]) if against else []
        return {
            "runtime": runtime,
            "hash": name,
            "seen_at": None,
            "environment": describe_lock(LOCKS[name]),
            "known": [{"hash": item, "seen_at": "2026-11-30"} for item in LOCKS],
            "difference": {"changes": [{"sentence": item.sentence} for item in found]},
        }


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(*_: object) -> Iterator[Client]:
        yield Client()

    monkeypatch.setattr(environments, "connected", connected)


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(environments.app, list(arguments))
    return result.exit_code, result.output


def test_the_newest_is_shown_with_what_is_unknown() -> None:
    status, shown = call("show")
    assert status == 0
    assert f"comfy  {NEW}" in shown
    assert "version    2" in shown
    assert "extensions unknown" in shown
    assert "model      vae/a 7 (digest unknown)" in shown
    assert f"also known {OLD}" in shown


@pytest.mark.parametrize("name", [OLD, OLD[:6]])
def test_one_is_found_by_its_hash_or_how_that_begins(name: str) -> None:
    status, shown = call("show", name)
    assert status == 0
    assert "extension  mine (version unknown)" in shown


def test_the_exit_status_says_whether_two_differ() -> None:
    status, shown = call("diff", OLD[:6], NEW)
    assert status == 1
    assert "version: 1 -> 2" in shown
    assert call("diff", OLD, OLD) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "zz"), "has told of an environment 'zz'"),
        (("show", ""), "2 environments of comfy begin"),
        (("show", "--runtime", "silent"), "no agent of silent has told of its environment"),
        (("diff", "0" * 64, NEW), "has told of an environment"),
    ],
)
def test_what_is_not_there_is_said(arguments: tuple[str, ...], said: str) -> None:
    status, shown = call(*arguments)
    assert status == 2
    assert said in " ".join(shown.split())
