"""A program that fails is quoted, whatever it was given."""

from __future__ import annotations

import pytest

from cloud import shell
from cloud.aws import ToolError
from cloud.reporter import Reporter


def test_what_is_given_reaches_the_program_and_what_it_prints_comes_back() -> None:
    assert shell.run(["cat"], report=Reporter(), stdin="one\ntwo\n") == "one\ntwo"


def test_a_program_that_ends_without_reading_what_it_is_given_is_quoted_all_the_same() -> None:
    with pytest.raises(ToolError, match=r"ended with status 3:\nno daemon"):
        shell.run(["sh", "-c", "echo no daemon; exit 3"], report=Reporter(), stdin="a secret\n" * 100_000)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolError, match="no-such-program cannot be started"):
        shell.run(["no-such-program"], report=Reporter())
