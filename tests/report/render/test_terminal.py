"""The table in the terminal: nothing too wide, no number cut, no text from outside that controls anything."""

import io
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.studies import (
    STUDIES,
    Ends,
    intervals,
    made,
    printed,
)

from ablation.report import labels
from ablation.report.numbers import TIMES
from ablation.report.render import terminal
from ablation.report.table import TableData
from ablation.store.results import RunResult


@pytest.mark.parametrize("width", [60, 72, 80, 100, 119, 120, 160, 240])
@pytest.mark.parametrize("study", STUDIES)
def test_terminal_lines_fit_and_no_number_is_cut(study: str, width: int) -> None:
    text = printed(STUDIES[study], width)
    assert max(map(cell_len, text.splitlines())) <= width
    shown = re.findall(r"\[[+-][\d.]+, [+-][\d.]+\]", text)
    assert shown == intervals(STUDIES[study])
    for cell in STUDIES[study].cells:
        assert f"{cell.count('completed')}/{len(cell.results)}" in text
    assert "…" not in text.replace("y …", "")


def test_terminal_has_the_baseline_first_with_mean_and_sd() -> None:
    rows = printed(STUDIES["complete"], 80).splitlines()
    first = next(number for number, row in enumerate(rows) if set(row.strip()) == {"─"}) + 1
    assert rows[first].startswith("baseline  ")
    assert any(row.startswith("baseline: block=pre_norm ") for row in rows[:first]), "too long for a row"
    loss = STUDIES["complete"].baseline.metrics["loss"]
    assert f"{loss.mean:.3f} ± {loss.sd:.3f} SD" in rows[first]


def test_narrow_terminal_has_a_table_per_lens() -> None:
    text = printed(STUDIES["complete"], 80)
    row, costs, *_ = (row for row in text.splitlines() if row.startswith("position=alibi  "))
    assert re.search(rf"804,224 +4\d\.\dk {TIMES}\d\.\d\d", costs)
    assert re.search(r"-0\.\d+ +\[-0\.\d+, -0\.\d+\] +▲ better +3/3", row)


def test_wide_terminal_has_all_lenses_in_one_table() -> None:
    text = printed(STUDIES["complete"], 180)
    row = next(row for row in text.splitlines() if row.startswith("block=post_norm position=alibi n_heads=8"))
    assert re.search(r"2\.\d+ ± 0\.\d+ +\+0.*▼ worse +.*804,224 +4\d\.\dk .*3/3", row)
    assert "perplexity" in text and "accuracy" in text


def test_incomplete_runs_are_counted_with_one_reason() -> None:
    text = printed(STUDIES["incomplete"], 240)
    assert "2/3 +1 diverged" in text and "1/3 +2 failed" in text and "2/3 +1 missing" in text
    assert text.count("RuntimeError: out of memory") == 1
    assert "failed: RuntimeError: out of memory (position=alibi n_heads=8, seeds 0, 1)" in text
    assert "no interval for n_heads=8 — 1 of 3 runs diverged" in text
    assert re.search(r"^n_heads=8 .* [+-]0\.\d+ over 2 of 3 seeds", text, re.MULTILINE)
    assert not re.search(r"^main effect", text, re.MULTILINE)
    assert (
        "no main effect of block=post_norm; position=alibi; n_heads=8 — 1 of 24 runs diverged, 2 failed, 1 not" in text
    )


def test_verdicts_have_a_mark_a_word_and_a_legend() -> None:
    verdicts = [cell.metrics["loss"].verdict for cell in STUDIES["complete"].cells]
    assert verdicts[0] is None and all(verdicts[1:])
    text = printed(STUDIES["complete"], 80)
    for verdict in verdicts[1:]:
        mark, word = labels.verdict(verdict).split(" ", 1)
        assert mark == labels.MARKS[verdict.label]
        assert f"{mark} {word}" in text
    assert "▲ better  ▼ worse  ≈ equivalent" in text


def test_color_adds_nothing_to_the_words() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    terminal.show(TableData.of(STUDIES["incomplete"]), console)
    assert isinstance(console.file, io.StringIO)
    colored = console.file.getvalue()
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == printed(STUDIES["incomplete"], 80)


def test_rich_markup_in_names_is_shown_as_written() -> None:
    ends: Ends = {(2, 0): RunResult("", "failed", reason="[red]why[/]")}
    factors = {"model.block": ["pre", "post", "[red]level[/]"], "model.[red]factor[/]": ["a", "b"]}
    text = printed(made(ends=ends, factors=factors, grid="[red]grid[/]"), 240)
    for shown in (
        "[red]grid[/]",
        "block=[red]level[/]  ",
        "block: [red]level[/] against pre",
        "[red]factor[/]=b",
        "[red]why[/]",
    ):
        assert shown in text


def test_control_characters_do_nothing_in_the_terminal() -> None:
    text = printed(STUDIES["hostile"], 160)
    assert "[bold red]x[/] =1+1|a bc<script>" in text
    assert all(character == "\n" or character.isprintable() for character in text)
    text.encode()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("study", STUDIES)
def test_many_rows_look_as_few_do(study: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    few = printed(STUDIES[study], width)
    monkeypatch.setattr(terminal, "MANY", 1)
    tables: list[terminal.ManyLines] = []
    made_before = terminal.ManyLines.__init__

    def make(table: terminal.ManyLines, *parts: Any) -> None:
        tables.append(table)
        made_before(table, *parts)

    monkeypatch.setattr(terminal.ManyLines, "__init__", make)
    assert printed(STUDIES[study], width) == few
    assert bool(tables) == (len(STUDIES[study].cells) > 1) or width == 60
