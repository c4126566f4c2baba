"""The table in the terminal: nothing too wide, no number cut, no text from outside that controls anything."""

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.studies import (
    STUDIES,
    Ends,
    as_csv,
    as_markdown,
    intervals,
    made,
    printed,
)

from ablation.report import labels
from ablation.report.footnotes import LEGEND
from ablation.report.numbers import TIMES
from ablation.report.render import fitted, terminal
from ablation.report.table import TableData
from ablation.stats.verdict import Verdict
from ablation.store.results import RunResult


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 119, 120, 160, 240])
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
    colored = "".join(terminal.texts(TableData.of(STUDIES["incomplete"]), console))
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
    monkeypatch.setattr(fitted, "MANY", 1)
    tables: list[fitted.ManyLines] = []
    made_before = fitted.ManyLines.__init__

    def make(table: fitted.ManyLines, *parts: Any, **options: Any) -> None:
        tables.append(table)
        made_before(table, *parts, **options)

    monkeypatch.setattr(fitted.ManyLines, "__init__", make)
    assert printed(STUDIES[study], width) == few
    assert bool(tables) == (len(STUDIES[study].cells) > 1) or width == 60


@pytest.mark.parametrize("width", [40, 48, 60, 80])
@pytest.mark.parametrize("study", ["complete", "incomplete"])
def test_labels_are_broken_between_words_only(study: str, width: int) -> None:
    quality = printed(STUDIES[study], width).partition("\nquality")[2].partition("\nstability")[0]
    shown = {word.rstrip(labels.UNMATCHED + labels.BESIDE) for word in quality.split()}
    assert {word for cell in STUDIES[study].cells[1:] for word in cell.label.split()} <= shown


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_ends_in_blanks(width: int) -> None:
    comparison = STUDIES["complete"]
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    colored = re.sub(r"\x1b\[[\d;]*m", "", "".join(terminal.texts(TableData.of(comparison), console)))
    for text in (printed(comparison, width), colored, as_markdown(comparison), as_csv(comparison)):
        assert [line for line in text.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(("width", "height"), [(80, 23), (60, 23), (40, 28), (160, 23), (80, 30), (80, 16)])
def test_low_terminal_shows_cells_and_the_result_rather_than_notes(width: int, height: int) -> None:
    comparison = STUDIES["complete"]
    console = Console(width=width, file=io.StringIO(), color_system=None)
    table = TableData.of(comparison)
    text = "".join(terminal.texts(table, console, height))
    lines = text.splitlines()
    assert len(lines) <= height
    assert any(line.startswith("baseline") for line in lines)
    assert "`ablate table" in re.sub(r"\s+", " ", text)
    assert re.sub(r"\s+", " ", text).strip().endswith(table.summary)
    shown = sum(interval in text for interval in intervals(comparison))
    more = re.search(r"(\d+) more cells?", text)
    assert shown >= 1
    assert more is None or int(more[1]) < len(comparison.cells)


@pytest.mark.parametrize(("width", "height"), [(40, 23), (80, 12), (160, 12)])
def test_low_terminal_counts_the_notes_that_the_whole_table_has(width: int, height: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    text = "".join(terminal.texts(TableData.of(STUDIES["complete"]), console, height))
    counted = re.search(r"(\d+) notes", re.sub(r"\s+", " ", text))
    whole = printed(STUDIES["complete"], width)
    assert counted is not None and int(counted[1]) == len(re.findall("^- ", whole, re.MULTILINE))


def test_commands_to_type_next_name_the_folder_of_runs_where_it_is_not_the_usual_one() -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    table = TableData.of(STUDIES["complete"])
    _, ending = terminal.texts(table, console, height=15, options="--runs 'my runs'")
    name, text = table.comparison.grid, re.sub(r"\s+", " ", ending)
    for command in (f"ablate table {name}", f"ablate explain {name} CELL", f"ablate report {name}"):
        assert f"`{command} --runs 'my runs'`" in text


def test_terminal_with_room_leaves_out_nothing() -> None:
    comparison = STUDIES["complete"]
    console = Console(width=80, file=io.StringIO(), color_system=None)
    assert "".join(terminal.texts(TableData.of(comparison), console, height=500)) == printed(comparison, 80)


def test_column_of_identical_verdicts_is_one_sentence() -> None:
    outcomes = STUDIES["complete"]
    changes = [
        replace(
            cell, metrics={**cell.metrics, "loss": replace(cell.metrics["loss"], verdict=Verdict(label="identical"))}
        )
        for cell in outcomes.cells[1:]
    ]
    same = replace(outcomes, cells=[outcomes.baseline, *changes])
    text = printed(same, 160)
    assert "= identical" not in text.replace(LEGEND, "")
    assert text.count("loss: identical to the baseline's in every cell, seed by seed") == 1
    one_differs = replace(same, cells=[*same.cells[:-1], outcomes.cells[-1]])
    assert "= identical" in printed(one_differs, 160).replace(LEGEND, "")
    assert "in every cell" not in printed(one_differs, 160)


def test_picture_fetches_no_fonts() -> None:
    picture = terminal.draw(TableData.of(STUDIES["complete"]))
    assert "font-face" not in picture
    assert re.findall(r"https?://[^\s\"')]+", picture) == ["http://www.w3.org/2000/svg", "https://www.textualize.io"]
