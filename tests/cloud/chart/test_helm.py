"""Helm is the one of the deployment, wherever it comes from, and says what is wrong."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from cloud import helm


def test_helm_is_unpacked_once_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the packaged Helm runs on Linux (x86-64) alone")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    binary = helm.helm_binary()
    assert binary.parent == tmp_path / "darkroom"
    written = binary.stat().st_mtime_ns
    assert helm.helm_binary().stat().st_mtime_ns == written
    assert [item.name for item in binary.parent.iterdir()] == [binary.name], "nothing half-done lies beside it"
    assert helm.render({"karpenter": {"enabled": False}})


def test_elsewhere_helm_comes_from_the_path_or_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(helm.HelmError, match="install Helm 4"):
        helm.helm_binary()
    (tmp_path / "helm").write_text("#!/bin/sh\n")
    (tmp_path / "helm").chmod(0o755)
    assert helm.helm_binary() == tmp_path / "helm"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(helm.HelmError, match="cannot be unpacked"):
        helm.helm_binary(tmp_path / "file")


def test_a_missing_chart_is_said(tmp_path: Path) -> None:
    with pytest.raises(helm.HelmError, match="nowhere"):
        helm.render({}, chart=tmp_path / "nowhere")


@pytest.mark.parametrize("command", ["lint", "render"])
def test_a_wrong_value_is_said_by_its_path(command: str) -> None:
    with pytest.raises(helm.HelmError, match=r"'/runtime/scaling'.*'queueLenght'"):
        getattr(helm, command)({"runtime": {"scaling": {"queueLenght": 1}}})
