"""Lines of processes, cut and prefixed."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from local.harness.lines import LONGEST, LineSplitter, Printer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=200)


@given(lines=st.lists(TEXT.map(lambda text: text.replace("\n", " "))), cuts=st.lists(st.integers(1, 7)))
def test_lines_survive_however_their_bytes_are_torn(lines: list[str], cuts: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    splitter, found = LineSplitter(), list[str]()
    for cut in cuts:
        found += splitter.feed(data[:cut])
        data = data[cut:]
    assert found + splitter.feed(data) + splitter.end() == lines


@given(data=st.binary(max_size=300))
def test_any_bytes_become_lines(data: bytes) -> None:
    splitter = LineSplitter()
    for line in splitter.feed(data) + splitter.end():
        assert "\n" not in line


def test_the_last_line_needs_no_end_and_an_endless_one_is_cut() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\r\ntwo") == ["one"]
    assert splitter.end() == ["two"]
    assert splitter.end() == []
    [line] = splitter.feed(b"x" * (LONGEST + 1))
    assert len(line) == LONGEST
    assert line.endswith("…")


def printed(width: int = 40) -> tuple[Printer, io.StringIO]:
    out = io.StringIO()
    return Printer(Console(file=out, width=width), ["api", "sdruntime-agent"]), out


def test_names_are_aligned_and_nothing_is_wrapped_or_read_as_markup() -> None:
    printer, out = printed()
    printer.line("api", "[red]" + "x" * 60)
    printer.line("sdruntime-agent", "\x1b[31mcolour\x1b[0m")
    printer.line("api", "   ")
    printer.say("two\nlines")
    assert out.getvalue().splitlines() == [
        "api             │ [red]" + "x" * 60,
        "sdruntime-agent │ colour",
        "up              │ two",
        "up              │ lines",
    ]


def test_a_line_to_copy_is_printed_as_it_is() -> None:
    printer, out = printed()
    text = 'curl -d \'{"a":["b"]}\' ' + "x" * 100
    printer.plain(text)
    assert out.getvalue() == text + "\n"
