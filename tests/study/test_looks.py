"""Looks at a table: where seeds are added after one, the next table says what that means."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.small_grids import ROOT, Ablate, output, permissions_count, write_grid, write_results
from support.studies import flat

import ablation
from ablation.study.looks import LOOKS

SEEN = "Verdicts were already shown at 5 seeds, so false verdicts are no longer limited to 5 %."


@pytest.fixture
def grown(ablate: Ablate, tmp_path: Path) -> Path:
    """A grid that was shown with 5 seeds and has 8 now."""
    grow(tmp_path, 5)
    assert "before" not in output(ablate("table", "small"))
    grow(tmp_path, 8)
    return tmp_path


def grow(folder: Path, seeds: int | list[int]) -> None:
    write_grid(folder, seeds=seeds)
    write_results(folder)


def looks(folder: Path) -> list[tuple[int, str]]:
    file = folder / "runs" / "small" / LOOKS
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [(row["seeds"], row["metric"]) for row in rows]


@pytest.mark.parametrize("format", ["rich", "markdown", "latex", "json"])
def test_seeds_added_after_a_look_are_marked(ablate: Ablate, grown: Path, format: str) -> None:
    text = flat(output(ablate("table", "small", "--format", format))).replace("\\", "")
    assert SEEN in text
    if format == "json":
        assert json.loads(output(ablate("table", "small", "--json")))["seen"] == [5]
    else:
        assert "seen at 5 seeds before: adding seeds after a look makes false differences more likely" in text


def test_seeds_added_after_a_look_are_marked_everywhere(ablate: Ablate, grown: Path) -> None:
    assert SEEN in ablation.Study("small").compare()._repr_html_()
    assert ablation.load(grown / "runs" / "small").seen == (5,)
    assert "seen at 5 seeds before" in flat(output(ablate("explain", "small", "block=post_norm")))
    assert "seen at 5 seeds before" in flat(output(ablate("table", "small", "--pivot", "block")))
    lines = output(ablate("table", "small", "--format", "csv")).splitlines()
    column = lines[0].split(",").index("seen")
    assert {line.split(",")[column] for line in lines[1:]} == {"", "5"}
    assert ablate("report", "small").code == 0
    page = (grown / "runs" / "small" / "report.html").read_text()
    assert SEEN in page and "seen at 5 seeds before" in page


def test_each_number_of_seeds_and_metric_is_recorded_once(ablate: Ablate, grown: Path) -> None:
    ablate("table", "small")
    ablation.Study("small").compare()
    assert looks(grown) == [(5, "exact_match"), (8, "exact_match")]
    ablate("table", "small", "--metric", "loss")
    ablate("report", "small", "--metric", "loss")
    assert looks(grown) == [(5, "exact_match"), (8, "exact_match"), (8, "loss")]
    grow(grown, 12)
    assert ablation.Study("small").compare().seen == (5, 8)


def test_table_without_verdicts_is_no_look(ablate: Ablate, tmp_path: Path) -> None:
    grow(tmp_path, 2)
    output(ablate("table", "small"))
    output(ablate("status", "small"))
    assert looks(tmp_path) == []


def test_other_seeds_and_other_cells_were_not_seen(ablate: Ablate, grown: Path) -> None:
    grow(grown, list(range(20, 28)))
    assert ablation.Study("small").compare().seen == ()
    write_grid(grown, {"model.norm": ["layer_norm", "rms_norm"]}, {"training.max_steps": 7}, seeds=8)
    write_results(grown)
    assert ablation.Study("small").compare().seen == ()


def test_planned_looks_are_not_marked_but_earlier_ones_are(ablate: Ablate, grown: Path) -> None:
    file = grown / "small.yaml"
    file.write_text(file.read_text() + "interim_looks: [5, 8, 12]\n")
    write_results(grown)
    assert ablation.Study("small").compare().seen == (5,), "at 5 seeds no look was planned yet"
    (grown / "runs" / "small" / LOOKS).unlink()
    ablation.Study("small").compare()
    write_grid(grown, seeds=12)
    write_results(grown)
    assert ablation.Study("small").compare().seen == (), "8 was a planned look"


def test_folder_that_cannot_be_written_is_shown_all_the_same(ablate: Ablate, tmp_path: Path) -> None:
    grow(tmp_path, 5)
    folder = tmp_path / "runs" / "small"
    folder.chmod(0o500)
    try:
        with permissions_count():
            output(ablate("table", "small"))
    finally:
        folder.chmod(0o700)
    assert looks(tmp_path) == []


def test_damaged_line_of_looks_is_left_out(ablate: Ablate, grown: Path) -> None:
    with (grown / "runs" / "small" / LOOKS).open("a") as file:
        file.write('{"seeds": "many"}\n[]\n{"seeds"')
    assert ablation.Study("small").compare().seen == (5,)


def test_commands_at_the_same_time_lose_no_look(grown: Path) -> None:
    words = [["--metric", "loss"], ["--metric", "exact_match"], []]
    program = "import sys; from ablation.cli import main; sys.exit(main())"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, "table", "small", *extra],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        for extra in words
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert {*looks(grown)} == {(5, "exact_match"), (8, "exact_match"), (8, "loss")}


@pytest.mark.parametrize("format", ["rich", "markdown", "latex", "json"])
def test_metric_that_is_not_declared_is_marked(ablate: Ablate, tmp_path: Path, format: str) -> None:
    grow(tmp_path, 3)
    declared = flat(output(ablate("table", "small", "--format", format)))
    chosen = flat(output(ablate("table", "small", "--format", format, "--metric", "loss")))
    sentence = "The grid declares exact match, not loss."
    assert sentence in chosen and sentence not in declared
    if format != "json":
        assert "not declared: loss is one of 2 measures of quality" in chosen
        assert "not declared" not in declared


def test_metric_that_is_not_declared_is_marked_in_csv(ablate: Ablate, tmp_path: Path) -> None:
    grow(tmp_path, 3)
    lines = output(ablate("table", "small", "--format", "csv", "--metric", "loss")).splitlines()
    columns = lines[0].split(",")
    marked = {line.split(",")[columns.index("metric")]: line.split(",")[columns.index("declared")] for line in lines}
    assert marked["loss"] == "no" and marked["exact_match"] == ""
