"""What is longer than the terminal is shown page by page."""

import io
import pydoc
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from ablation.report import paging
from ablation.report.render import terminal
from ablation.report.table import Section, Sections

LONG = "line\n" * 50
TERMINAL = SimpleNamespace(isatty=lambda: True)


@pytest.fixture
def paged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the pager was given."""
    texts: list[str] = []
    monkeypatch.setattr(pydoc, "pager", texts.append)
    monkeypatch.setattr(sys, "stdin", TERMINAL)
    monkeypatch.delenv("LESS", raising=False)
    return texts


def console(**options: Any) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80, height=20, **options)


def written(opened: Console) -> str:
    assert isinstance(opened.file, io.StringIO)
    return opened.file.getvalue()


def test_only_what_is_longer_than_the_terminal_is_paged(paged: list[str]) -> None:
    low = console()
    paging.page("short\n", low)
    assert (written(low), paged) == ("short\n", [])
    paging.page(LONG, low)
    assert (written(low), paged) == ("short\n", [LONG])


def test_without_a_reader_a_long_text_is_written_bit_by_bit() -> None:
    class Pieces(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    pieces: list[str] = []
    text = Text("\n".join(map(str, range(2 * paging.LINES_AT_ONCE + 1))))
    paging.show(text, Console(file=Pieces(), width=80))
    assert "".join(pieces).splitlines() == text.plain.splitlines()
    assert len([*filter(None, pieces)]) == 3


def test_without_an_input_nothing_is_paged(paged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    low = console()
    paging.page(LONG, low)
    assert (written(low), paged) == (LONG, [])


def test_long_sections_are_paged(paged: list[str]) -> None:
    low = console()
    notes = tuple(f"note {number}" for number in range(50))
    terminal.show_sections(Sections("b minus a", "", "", (Section("loss", ("a",), ()),), notes), low)
    assert written(low) == "" and len(paged) == 1 and "note 49" in paged[0]
