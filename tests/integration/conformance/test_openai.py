"""The fake servers of OpenAI's image API behave as stated, case by case."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

import pytest

from contract.task import RuntimeType
from tests.conformance.case import Case
from tests.integration.conformance.programs import Program, cases, running


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with running(RuntimeType.OPENAI, tmp_path_factory.mktemp("openai")) as program:
        yield program


@pytest.mark.parametrize("case", cases(RuntimeType.OPENAI), ids=attrgetter("name"))
async def test_it_behaves_as_stated(program: Program, case: Case) -> None:
    await program.check(case)
