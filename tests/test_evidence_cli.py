"""The commands that say what the runs carry: looks, explain, status, and the ways to look at a table."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_grids import Ablate, Answer, one_line, write_grid

from ablation.compare import families
from ablation.launch.local import LocalLauncher
from ablation.stats.verdict import Verdict

TWO_FACTORS = {"model.block": ["pre_norm", "post_norm"], "model.position": ["sinusoidal", "alibi"]}


def deciding(monkeypatch: pytest.MonkeyPatch, decided: dict[str, int]) -> None:
    """Verdicts by the number of seeds: a cell is decided from so many on, whatever its numbers."""

    def fake(comparison: Any) -> Any:
        from dataclasses import replace

        def verdict(cell: Any) -> Verdict:
            label: Any = "worse" if len(cell.seeds) >= decided[cell.label] else "inconclusive"
            rest = (None,) * 7
            return Verdict(label, False, False, None, *rest[:4], None, None, 0.01, 0.05, 1, None, None)

        cells = [comparison.baseline]
        for cell in comparison.cells[1:]:
            metric = replace(cell.metrics[comparison.metric], verdict=verdict(cell))
            cells.append(replace(cell, metrics={**cell.metrics, comparison.metric: metric}))
        return replace(comparison, cells=tuple(cells))

    monkeypatch.setattr("ablation.compare.comparison.judged", fake)


def runs_of(folder: Path) -> dict[str, int]:
    manifest = json.loads((folder / "runs" / "small" / "manifest.json").read_text())
    return {cell["label"]: len(cell["runs"]) for cell in manifest["cells"]}


LEVELS = {"model.position": ["sinusoidal", "alibi", "rope"]}


def looking(folder: Path, **extra: Any) -> Path:
    file = write_grid(folder, LEVELS, {"training.max_steps": 2, "training.evaluate_every": 2})
    grid = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**grid, "interim_looks": [3, 4, 6], **extra}, sort_keys=False))
    return file


def test_seeds_are_added_at_the_planned_looks_and_only_where_needed(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch, {"position=alibi": 3, "position=rope": 4})
    answer = ablate("run", looking(tmp_path), "--until-decided", "--json")
    assert runs_of(tmp_path) == {"position=sinusoidal": 4, "position=alibi": 3, "position=rope": 4}
    assert (answer.json["planned"], answer.json["executed"], answer.json["cached"]) == (11, 11, 0)
    assert "3 seeds: 1 of 2 changes decided; 2 runs more." in answer.err
    assert "4 seeds: 2 of 2 changes decided; done." in answer.err
    again = ablate("run", looking(tmp_path), "--until-decided", "--json")
    assert (again.json["planned"], again.json["executed"]) == (11, 0)


def test_without_a_look_left_or_a_budget_the_undecided_stay_so(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch, {"position=alibi": 99, "position=rope": 3})
    answer = ablate("run", looking(tmp_path), "--until-decided", "--budget", "11", "--json")
    assert runs_of(tmp_path) == {"position=sinusoidal": 4, "position=alibi": 4, "position=rope": 3}
    assert "the next look needs 4 runs, the budget has 0" in answer.err
    answer = ablate("run", looking(tmp_path), "--until-decided", "--json")
    assert runs_of(tmp_path) == {"position=sinusoidal": 6, "position=alibi": 6, "position=rope": 3}
    assert "6 seeds: 1 of 2 changes decided; no look is left." in answer.err


def test_looks_that_were_planned_once_stay_planned(ablate: Ablate, tmp_path: Path) -> None:
    file = write_grid(tmp_path, LEVELS, {"training.max_steps": 2, "training.evaluate_every": 2}, seeds=[0, 1, 2, 3, 4])
    ablate("run", file, "--until-decided", "--json")
    ablate("run", file, "--json")
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    assert manifest["interim_looks"] == [5, 8, 12]
    found = json.loads(ablate("table", file, "--json").out)
    verdict = found["cells"][2]["metrics"][found["metric"]]["judgment"]
    assert verdict["alpha"] == 0.010 or verdict["label"] == "identical"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--until-decided", "--seeds", "3"], "--seeds: --until-decided decides on the seeds"),
        (["--budget", "3"], "--budget: bounds --until-decided only"),
    ],
)
def test_what_cannot_be_together_is_refused(ablate: Ablate, tmp_path: Path, words: list[str], what: str) -> None:
    answer = ablate("run", looking(tmp_path), *words)
    assert answer.code == 2 and what in one_line(answer)


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ({"interim_looks": [5, 3]}, "looks: must grow"),
        ({"interim_looks": [1]}, "interim_looks"),
        ({"seeds": [1, 2]}, "seeds: are too few; the first planned look needs 3"),
        ({"metric": "exact_mach"}, "metric: 'exact_mach' is not measured; allowed: "),
        ({"margins": {"los": 0.1}}, "did you mean 'loss'?"),
        ({"margins": {"loss": -0.1}}, "margins"),
    ],
)
def test_a_wrong_plan_of_judgement_is_one_line_with_its_place(
    ablate: Ablate, tmp_path: Path, extra: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(LocalLauncher, "start", start)
    answer = ablate("run", looking(tmp_path, **extra), "--until-decided")
    assert answer.code == 2
    assert what in one_line(answer) and "small.yaml:" in answer.err


@pytest.fixture
def trained(ablate: Ablate, tmp_path: Path) -> Path:
    file = write_grid(tmp_path, TWO_FACTORS, {"task.extrapolate": 2}, seeds=3)
    assert ablate("run", file, "--json").code == 0
    return file


def shown(answer: Answer) -> str:
    assert answer.code == 0, answer.err
    return answer.out


def test_a_trained_grid_can_be_looked_at_from_every_side(ablate: Ablate, trained: Path) -> None:
    whole = shown(ablate("table", trained))
    assert "No run diverged. Speed was not measured." in " ".join(whole.split())
    assert re.search(r"position=alibi +.*(▲|▼|≈|\?|=)", whole)

    filtered = shown(ablate("table", trained, "--filter", "alibi"))
    assert "block=post_norm position=alibi" in filtered
    assert not re.search(r"^block=post_norm +[+-]", filtered, re.MULTILINE)

    crossed = shown(ablate("table", trained, "--sort", "-exact_match", "--pivot", "block"))
    assert re.search(r"pre_norm +post_norm", crossed) and re.search(r"^position=alibi .*\d.*\d", crossed, re.MULTILINE)

    lengths = shown(ablate("table", trained, "--by-length"))
    assert "1x" in lengths and "2x" in lengths

    latex = shown(ablate("table", trained, "--format", "latex"))
    assert latex.count(r"\\") >= 5 and r"\toprule" in latex and r"block=post\_norm" in latex

    status = ablate("status", trained, "--json").json
    assert (status["planned"], status["states"], status["partial"]) == (12, {"completed": 12}, False)
    assert status["cells"][1]["difference"] == pytest.approx(status["cells"][1]["loss"] - status["cells"][0]["loss"])
    assert "12 runs, 12 completed" in shown(ablate("status", trained))

    reasons = shown(ablate("explain", trained, "block=post_norm position=alibi"))
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
        (["explain", "block=post"], "is not a cell"),
        (["explain", "block=pre_norm position=sinusoidal"], "is the baseline"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(ablate: Ablate, tmp_path: Path, words: list[str], what: str) -> None:
    file = write_grid(tmp_path, TWO_FACTORS)
    command, *options = words
    answer = ablate(command, file, *options)
    assert answer.code == 2 and what in one_line(answer)


def test_partial_results_are_compared_at_equal_tokens_and_say_so(ablate: Ablate, tmp_path: Path) -> None:
    file = write_grid(tmp_path, {"model.block": ["pre_norm", "post_norm"]})
    manifest = {"schema": 1}
    ablate("run", file, "--json")
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    (late,) = manifest["cells"][1]["runs"]
    folder = tmp_path / "runs" / "store" / late["id"][:2] / late["id"]
    rows = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"step":6' not in line]
    (folder / "metrics.jsonl").write_text("\n".join([*rows, '{"step": 6, "tok']))
    (folder / "result.json").unlink()
    found = ablate("status", file, "--json").json
    assert (found["partial"], found["states"]) == (True, {"completed": 1, "begun": 1})
    early = json.loads(rows[-1])
    assert found["tokens"] == early["tokens"]
    assert found["cells"][1]["loss"] == pytest.approx(early["validation/loss"])
    assert "partial: at equal tokens" in shown(ablate("status", file))


def test_the_family_and_the_alpha_are_those_of_the_engine() -> None:
    assert families.alpha_spent(5, ()) == 0.05
    assert families.alpha_spent(5, (5, 8, 12)) == 0.010
    assert families.alpha_spent(8, (5, 8, 12)) == 0.015
