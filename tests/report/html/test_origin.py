"""How a page was made: the grid's file, the command, dates and the code."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.pages import Seen, made, text_of

from ablation.report.html import origin
from ablation.report.html.appendix import baseline_settings, methods
from ablation.report.html.data import ReportData
from ablation.store.code import package_source

FILE = "# Does it help?\nname: made\nfactors:\n  model.block: [a, b] # </pre><script>\n\u202e\x1b[31m"


@pytest.fixture
def data(tmp_path: Path) -> ReportData:
    found = made(tmp_path, {"model.block": ["a", "b"]})
    (found.root / "made" / "grid.yaml").write_text(FILE)
    return found


def test_page_has_the_file_of_the_grid_as_text(data: ReportData):
    page = text_of(data)
    assert "name: made\nfactors:\n  model.block: [a, b] # </pre><script>" in Seen(page).text
    assert not re.search("[\u202e\x1b]", page)


def test_page_without_the_file_of_the_grid_has_none(tmp_path: Path):
    assert "The grid's file" not in text_of(made(tmp_path, {"model.block": ["a", "b"]}))


def test_command_repeats_values_from_outside_the_file(data: ReportData):
    manifest = {**data.manifest, "file": "../somewhere/my grid.yaml", "settings": ["training.max_steps=5", "x=a b"]}
    said = dict(methods(replace(data, manifest=manifest)))["Command"]
    assert said == ("ablate run 'my grid.yaml' --set training.max_steps=5 --set 'x=a b'; ablate report 'my grid.yaml'")


def test_dates_are_those_of_the_runs_and_of_the_page(data: ReportData):
    assert re.fullmatch(r"page \d{4}-\d\d-\d\d \d\d:\d\d \S+", data.dates)
    for cell, day in zip(data.comparison.cells, ("2026-03-01", "2026-02-03"), strict=True):
        attempt = data.directory(cell.results[0].id) / "attempt.json"
        attempt.write_text(json.dumps({"started": f"{day} 07:37:45+0000"}))
    assert data.dates.startswith("runs 2026-02-03 to 2026-03-01, page ")


def test_code_says_whether_the_runs_were_trained_by_it(data: ReportData, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(origin, "commit", lambda: "0123abc")
    assert data.code == "page by commit 0123abc"

    def code_of(source: str) -> str:
        results = [[replace(run, code={"source": source}, record={**run.record, "commit": commits[run.id]})
                    for run in cell.results] for cell in data.comparison.cells]  # fmt: skip
        cells = [replace(cell, results=own) for cell, own in zip(data.comparison.cells, results, strict=True)]
        return replace(data, comparison=replace(data.comparison, cells=cells)).code

    commits = {run.id: "0123abc" for cell in data.comparison.cells for run in cell.results}
    today = "the code that trained the runs is this one"
    assert code_of(package_source()).startswith(f"page by commit 0123abc; runs by commit 0123abc; {today}")
    commits[data.comparison.cells[0].results[0].id] = "4567def"
    assert "; runs by commit 0123abc and 4567def; " in code_of(package_source())
    assert "trained by code with fingerprint 0000000000000000" in code_of("0000000000000000")


def test_settings_of_the_baseline_are_complete(data: ReportData):
    settings = dict(baseline_settings(data))
    assert settings == {"model.d_model": "8", "model.block": "a"}
    assert "model.d_model: 8" in Seen(text_of(data)).text
