"""Every command of the README is one that CI or a test runs, and every file it links to is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")

COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    # A curl with its body spans lines: it counts as one command, and is run whole by tests/integration/readme.
    for line in re.sub(r"'\{.*?\n\}'", "BODY", block, flags=re.DOTALL).splitlines()
    if line.strip()
]


def _sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("session" in ast.unparse(item) for item in node.decorator_list)
    }
    cloud = next(node for node in tree.body if isinstance(node, ast.For)).iter  # {name: what it does}.items()
    assert isinstance(cloud, ast.Call)
    assert isinstance(cloud.func, ast.Attribute)
    return functions | set(ast.literal_eval(cloud.func.value))


def test_every_command_is_run_by_ci_or_by_a_test() -> None:
    run_by_ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    run_by_tests = {
        "uvx nox -s up": "tests/integration/local",
        "uvx nox -s client": "tests/integration/readme",
        "uvx --from . darkroom": "tests/integration/readme",
        "uvx nox -s loadtest": "tests/integration/loadtest",
        "uvx nox -s plan": "tests/unit/loadtest/planner",
        "uvx nox -s conformance": "tests/integration/conformance",
        "uvx nox -s cluster": "tests/cluster",
        "uvx nox -s deploy": "tests/cloud/tools",
        "docker compose up --wait": "tests/compose",
        "docker compose --profile gpu": "tests/compose",
        "curl": "tests/integration/readme",
    }
    assert COMMANDS
    for command in COMMANDS:
        covered = command in run_by_ci or any(
            command.startswith(known) and (ROOT / where).is_dir() for known, where in run_by_tests.items()
        )
        assert covered, f"nothing runs `{command}`"


def test_every_nox_session_that_is_named_exists() -> None:
    named = set(re.findall(r"nox -s ([\w-]+)", README))
    assert named <= _sessions()


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "fake_runtime" / "README.md",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for link, _, part in (found.partition("#") for found in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text())):
        target = (page.parent / link) if link else page
        assert target.exists(), link
        assert not part or target.suffix != ".md" or part in headings(target), f"{link}#{part}"


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
