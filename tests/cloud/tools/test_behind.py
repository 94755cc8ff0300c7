"""What is pinned is compared with the releases that its authors tag."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloud.behind import Pin, ask, newest, pins
from cloud.deployment.making import CDK
from tests.cloud.tools.conftest import Run


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A repository with releases, a candidate of a newer one, and other tags."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init", "--quiet")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message=x")
    for tag in ("v1.9.3", "v1.14.1", "v1.15.0-rc.1", "helm-v9.0.0", "v0.37.8"):
        git("tag", tag)
    return str(tmp_path)


@pytest.mark.parametrize(("pinned", "behind"), [("1.9.3", True), ("1.14.1", False), ("1.15.0", False)])
def test_a_newer_release_is_seen_and_a_candidate_is_none(repository: str, pinned: str, behind: bool) -> None:
    found = ask(Pin("it", pinned, repository))
    assert (found.newest, found.behind, found.trouble) == ("1.14.1", behind, "")


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    found = ask(Pin("it", "1.0.0", str(tmp_path / "nowhere")))
    assert not found.behind
    assert found.trouble


def test_tags_of_a_tool_among_others_count_and_as_many_numbers_as_are_pinned() -> None:
    listing = "a\trefs/tags/aws-cdk@v2.1148.1\nb\trefs/tags/cdk-assets@v4.0.0\n"
    assert newest(listing) == "2.1148.1"
    assert newest(listing, 2) == "2.1148"
    assert newest("") == ""


def test_everything_that_is_pinned_is_looked_at(run: Run) -> None:
    assert all(pin.version.count(".") == pin.parts - 1 for pin in pins(CDK))
    said = run("behind", "--dry-run").output
    assert all(pin.repository in said for pin in pins(CDK))
