"""An emulator's environment is made once for each list of pins, by whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.emulators.environment import EnvironmentFailedError, ensure_environment


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    """A list that needs nothing from a network."""
    path = tmp_path / "requirements.txt"
    path.write_text("# nothing\n")
    return path


def test_it_is_made_once_and_anew_when_the_pins_change(tmp_path: Path, pins: Path) -> None:
    said: list[str] = []
    first = ensure_environment(tmp_path, say=said.append, requirements=pins)
    assert first.exists()
    assert len(said) == 2
    assert ensure_environment(tmp_path, say=said.append, requirements=pins) == first
    assert len(said) == 2
    pins.write_text("# other pins\n")
    second = ensure_environment(tmp_path, say=said.append, requirements=pins)
    assert second.exists()
    assert not first.exists()


def test_an_environment_that_was_left_unfinished_is_made_anew(tmp_path: Path, pins: Path) -> None:
    python = ensure_environment(tmp_path, say=print, requirements=pins)
    (python.parent.parent / ".complete").unlink()
    python.unlink()
    assert ensure_environment(tmp_path, say=print, requirements=pins).exists()


def test_of_many_that_come_at_once_one_makes_it_and_the_others_wait(tmp_path: Path, pins: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        pythons = set(pool.map(lambda _: ensure_environment(tmp_path, say=said.append, requirements=pins), range(4)))
    assert len(pythons) == 1
    assert len([line for line in said if line.startswith("preparing")]) == 1


def test_without_uv_the_librarys_own_tools_make_it(tmp_path: Path, pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("local.emulators.environment._working_uv", lambda: None)
    python = ensure_environment(tmp_path, say=print, requirements=pins)
    assert (python.parent / "pip").exists()


def test_what_cannot_be_installed_is_told_with_the_installers_reason(tmp_path: Path, pins: Path) -> None:
    pins.write_text(f"{tmp_path}/nowhere-1-py3-none-any.whl --hash=sha256:{'0' * 64}\n")
    with pytest.raises(EnvironmentFailedError, match=r"LocalStack cannot be installed(.|\n)*nowhere-1") as caught:
        ensure_environment(tmp_path, say=print, requirements=pins)
    assert "Traceback" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path, pins: Path) -> None:
    (tmp_path / "localstack").touch()
    with pytest.raises(EnvironmentFailedError, match=rf"{tmp_path}/localstack cannot be written .*DARKROOM_HOME"):
        ensure_environment(tmp_path, say=print, requirements=pins)
