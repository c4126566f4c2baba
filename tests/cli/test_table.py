"""``ablate table`` and ``ablate explain`` on what runs left on disk."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.small_grids import NORMS, PROGRAM, ROOT, Ablate, one_line, output, write_grid, write_results


def test_table_needs_neither_grid_file_nor_torch(tmp_path: Path) -> None:
    write_grid(tmp_path)
    write_results(tmp_path)
    program = """
import sys
from ablation.cli import main
for grid in ("small.yaml", "small"):
    for format in ("rich", "markdown", "csv", "json"):
        sys.argv = ["ablate", "table", grid, "--format", format]
        assert main() == 0, sys.argv
        print("end of a table")
print(sorted({"torch", "lightning", "wandb"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    *tables, last = done.stdout.split("end of a table\n")
    assert last == "[]\n"
    assert tables[:4] == tables[4:], "by file and by name"
    assert len({*tables}) == 4
    assert json.loads(tables[3])["grid"] == "small"


def test_table_plans_a_changed_grid_anew(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    write_results(tmp_path)

    def n_cells(which: str | Path) -> int:
        return len(json.loads(ablate("table", which, "--json").out)["cells"])

    assert n_cells(grid) == 2
    write_grid(tmp_path, {"model.block": [*NORMS["model.block"], "sandwich"]})
    assert n_cells(grid) == 3
    assert n_cells("small") == 2, "what was run"


@pytest.mark.parametrize("format", ["rich", "markdown", "csv", "json"])
def test_table_into_a_closed_pipe_is_no_error(tmp_path: Path, format: str) -> None:
    write_grid(tmp_path)
    write_results(tmp_path)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "table", "small", "--format", format],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


TWO_FACTORS = {"model.block": ["pre_norm", "post_norm"], "model.position": ["sinusoidal", "alibi"]}


@pytest.fixture
def trained(ablate: Ablate, tmp_path: Path) -> Path:
    file = write_grid(tmp_path, TWO_FACTORS, {"task.extrapolate": 2}, seeds=3)
    assert ablate("run", file, "--json").code == 0
    return file


def test_views_of_a_trained_grid(ablate: Ablate, trained: Path) -> None:
    whole = output(ablate("table", trained))
    assert "No run diverged. Speed was not benchmarked." in " ".join(whole.split())
    assert re.search(r"position=alibi +.*(▲|▼|≈|\?|=)", whole)

    filtered = output(ablate("table", trained, "--filter", "alibi"))
    assert "block=post_norm position=alibi" in filtered
    assert not re.search(r"^block=post_norm +[+-]", filtered, re.MULTILINE)

    crossed = output(ablate("table", trained, "--sort", "-exact_match", "--pivot", "block"))
    assert re.search(r"pre_norm +post_norm", crossed) and re.search(r"^position=alibi .*\d.*\d", crossed, re.MULTILINE)

    lengths = output(ablate("table", trained, "--by-length"))
    assert "1x" in lengths and "2x" in lengths

    latex = output(ablate("table", trained, "--format", "latex"))
    assert latex.count(r"\\") >= 5 and r"\toprule" in latex and r"post\_norm &" in latex

    chosen = output(ablate("table", trained, "--format", "markdown", "--columns", "parameters,exact_match"))
    assert "| cell | parameters | exact match |" in chosen and "tokens" not in chosen.split("\n\n")[2]

    status = ablate("status", trained, "--json").json
    assert (status["planned"], status["states"], status["partial"]) == (12, {"completed": 12}, False)
    assert status["cells"][1]["difference"] == pytest.approx(status["cells"][1]["loss"] - status["cells"][0]["loss"])
    assert "12 runs, 12 completed" in output(ablate("status", trained))

    reasons = output(ablate("explain", trained, "block=post_norm position=alibi"))
    assert "paired t: p = " in reasons or "identical" in reasons
    assert "Shapley" in reasons
    data = ablate("explain", trained, "position=alibi block=post_norm", "--json").json  # in any order
    assert data["cell"] == "block=post_norm position=alibi"
    lens = data["lenses"][0]
    assert lens["delta"] == pytest.approx(sum(lens["differences"]) / 3)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["table", "--sort", "differenc"], "did you mean 'difference'?"),
        (["table", "--pivot", "blok"], "did you mean 'block'?"),
        (["table", "--filter", "nothing"], "no cell has that"),
        (["table", "--columns", "exact_mach"], "did you mean 'exact_match'?"),
        (["table", "--columns", "loss", "--format", "csv"], "csv has every measure"),
        (["table", "--columns", "loss", "--pivot", "block"], "a cross table has one measure"),
        (["explain", "block=post"], "could be 2 cells: block=post_norm; block=post_norm position=alibi"),
        (["explain", "nothing"], "is not a cell"),
        (["explain", "block=pre_norm position=sinusoidal"], "is the baseline"),
    ],
)
def test_table_and_explain_suggest_the_nearest_word(
    ablate: Ablate, tmp_path: Path, words: list[str], what: str
) -> None:
    file = write_grid(tmp_path, TWO_FACTORS)
    command, *options = words
    answer = ablate(command, file, *options)
    assert answer.code == 2 and what in one_line(answer)
