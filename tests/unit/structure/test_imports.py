"""Holds the 'may import' table: who may depend on whom, so that the parts stay parts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MAY_IMPORT: dict[str, set[str]] = {
    "contract": set(),
    "darkroom": set(),
    "fake_runtime": set(),
    "api": {"contract"},
    "agent": {"contract"},
    "local": {"contract", "darkroom"},
    "loadtest": {"contract"},
    "cloud": {"contract"},
    "cluster": {"contract", "local", "cloud"},
    "webhooks": {"contract"},
}
OURS = {*MAY_IMPORT, "tests"}


def imported(path: Path) -> set[str]:
    """Returns our own top-level packages that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            found.add((node.module or "").partition(".")[0])
    return found & OURS


@pytest.mark.parametrize("package", list(MAY_IMPORT))
def test_a_part_imports_only_what_the_table_allows(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules, f"{package}/ holds no module"
    for path in modules:
        strangers = imported(path) - MAY_IMPORT[package] - {package}
        assert not strangers, f"{path.relative_to(ROOT)} imports {', '.join(sorted(strangers))}"


@pytest.mark.parametrize("package", list(MAY_IMPORT))
def test_every_module_starts_with_one_sentence_that_says_what_it_is_for(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text, f"{path.relative_to(ROOT)} has no module docstring"
        assert text.splitlines()[0].rstrip().endswith((".", ":", "?")), (
            f"{path.relative_to(ROOT)}: first line is no sentence"
        )


def test_no_file_of_the_repository_names_a_package_registry() -> None:
    files = [*ROOT.glob("*/requirements*.txt"), *ROOT.glob("*/*/requirements*.txt")]
    assert len(files) >= 10
    for path in files:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert "://" not in line, f"{path.relative_to(ROOT)}:{number}: {line}"


@pytest.mark.parametrize("package", ["api", "agent", "local"])
def test_an_image_holds_what_its_part_imports(package: str) -> None:
    copied = set(re.findall(r"^COPY (\w+) /app/", (ROOT / package / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    wanted = {name for path in (ROOT / package).rglob("*.py") for name in imported(path) & OURS} | {package}
    assert copied >= wanted
    assert {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()} >= wanted
