"""TableData: columns declared once, shown by every format."""

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from support.studies import STUDIES, made, printed

from ablation.compare.comparison import compare
from ablation.compare.records import Comparison
from ablation.errors import InputError
from ablation.report import entries, labels, table
from ablation.report.entries import Entry
from ablation.report.html.data import ReportData
from ablation.report.html.page import render as render_page
from ablation.report.render import FORMATS, render, terminal
from ablation.report.select import select
from ablation.report.summary import summary
from ablation.report.table import COLUMNS, Column, TableData
from ablation.stats.contrast import Contrast
from ablation.store.results import RunResult


def test_interacting_factor_has_no_average_verdict() -> None:
    study = STUDIES["complete"]
    assert len(labels.interactions(study)) == 3 and "≠ depends" not in printed(study, 160)
    values = {(a, b): [2.0 + (0.2 + 0.002 * seed) * (a == b == "1") + 0.001 * seed for seed in range(4)]
              for a in "01" for b in "01"}  # fmt: skip
    cells, outcomes = [], {}
    for (a, b), losses in values.items():
        levels = {"model.a": a, "model.b": b}
        runs = [{"seed": seed, "id": f"{a}{b}{seed}"} for seed in range(4)]
        cells.append({"label": f"a={a} b={b}", "settings": levels, "levels": levels, "runs": runs})
        outcomes |= {r["id"]: RunResult(str(r["id"]), "completed", {"loss": losses[int(str(r["seed"]))]}) for r in runs}
    factors = [{"path": f"model.{n}", "name": n, "levels": ["0", "1"], "baseline": "0"} for n in "ab"]
    manifest = {"grid": "g", "metric": "loss", "better": "lower", "seeds": [0, 1, 2, 3]}
    found = compare({**manifest, "factors": factors, "cells": cells}, outcomes)
    assert [labels.effect(effect) for effect in labels.interactions(found)] == ["a=1 x b=1"]
    assert {labels.effect_verdict(found, effect) for effect in found.effects} == {"≠ depends"}


def test_unit_of_a_named_set_is_behind_its_name() -> None:
    assert labels.axis_title("loss@4x") == "loss@4x in nats per token"
    assert labels.axis_title("bits_per_character") == "bits per character"


def test_difference_equal_in_every_seed_says_so() -> None:
    study = made(factors={"model.block": ["pre_norm", "post_norm"]})
    same = Contrast(0.0, 3, (0.0, 0.0))
    written = [entries.difference(study, contrast, "loss") for contrast in (same, Contrast(0.25, 3, (0.25, 0.25)))]
    assert [entry.full for entry in written] == ["0 in every seed", "+0.250 in every seed"]


def seeds_of(comparison: Comparison, _: str) -> list[Entry]:
    return [Entry(f"{len(cell.seeds)} of {cell.label[:8]}") for cell in comparison.cells]


def test_new_column_is_one_declaration_for_all_formats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = STUDIES["two seeds"]
    monkeypatch.setattr(table, "COLUMNS", (*COLUMNS, Column("words", seeds_of, "quality", name="planned seeds")))
    data = TableData.of(study)
    expected = [entry.text for entry in seeds_of(study, "")]
    for text in (printed(study, 80), printed(study, 240), render(data, "markdown"), render(data, "latex")):
        text = text.replace(r"\hspace{0pt}", "")  # where LaTeX may break a line
        assert "planned seeds" in text and all(entry.replace("_", r"\_") in text or entry in text for entry in expected)
    page = render_page(ReportData({"metric": "loss"}, study, tmp_path), [])
    assert "planned seeds" in page and all(entry in page for entry in expected)
    assert [cell["planned seeds"] for cell in json.loads(render(data, "json"))["cells"]] == expected
    rows = csv.DictReader(io.StringIO(render(data, "csv")))
    assert list(dict.fromkeys(row["planned seeds"] for row in rows)) == list(dict.fromkeys(expected))


def test_column_without_any_text_is_not_shown() -> None:
    titles = [column.title for column in TableData.of(STUDIES["complete"]).shown("always", "with room")]
    assert titles == [
        "loss", "difference [95 % interval]", "verdict", "perplexity", "accuracy", "parameters", "tokens/s", "runs",
    ]  # fmt: skip


@pytest.mark.parametrize("study", STUDIES)
def test_every_column_has_an_entry_for_every_row(study: str) -> None:
    data = TableData.of(STUDIES[study])
    assert {len(column.entries) for column in (*data.columns, *data.exported)} == {len(data.rows)}


def test_formats_are_named_as_on_the_command_line() -> None:
    assert list(FORMATS) == ["markdown", "csv", "json", "latex"]
    assert all(render(TableData.of(STUDIES["complete"]), name).endswith("\n") for name in FORMATS)


def test_selected_rows_are_sorted_below_the_baseline() -> None:
    study = STUDIES["complete"]
    worst = select(study, ["post_norm"], "-difference")
    assert worst.cells[0] is study.baseline and len(worst.cells) == 5
    assert summary(worst).startswith(f"Filtered: 4 of {len(study.cells) - 1} changes are shown; ")
    assert "Filtered" not in summary(select(study, order="label"))
    deltas = [cell.metrics["loss"].contrast.delta for cell in worst.cells[1:] if cell.metrics["loss"].contrast]
    assert deltas == sorted(deltas, key=lambda delta: -(delta or 0.0))
    with pytest.raises(InputError, match=r"--sort los: not known; allowed: label, .*did you mean 'loss'"):
        select(study, order="los")
    with pytest.raises(InputError, match="--filter rmsnorm: no cell has that"):
        select(study, ["rmsnorm"])


def test_columns_are_those_that_are_named_in_their_order() -> None:
    study = STUDIES["complete"]
    data = TableData.of(study, ["runs", "perplexity", "loss"])
    columns = [(column.name, column.kind) for column in data.shown("always", "with room")]
    loss = [("loss", "mean"), ("loss", "difference"), ("loss", "verdict")]
    assert columns == [("runs", "words"), ("perplexity", "mean"), *loss] and len(data.rows) == len(study.cells)
    assert "| cell | runs | perplexity | loss | difference" in render(data, "markdown")
    console = Console(width=80, file=io.StringIO(), color_system=None)
    text = "".join(terminal.texts(data, console))
    header = next(line for line in text.splitlines() if line.startswith("quality"))
    assert "perplexity" in header and "difference" in header and "parameters" not in text
    with pytest.raises(InputError, match=r"--columns perplexty: not measured; allowed: .*did you mean 'perplexity'"):
        TableData.of(study, ["perplexty"])
