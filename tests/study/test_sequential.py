"""Seeds added at interim looks, only where a cell is undecided."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_grids import Ablate, one_line, write_grid

from ablation.compare import families
from ablation.launch.local import LocalLauncher
from ablation.stats.verdict import Verdict


def decide_at(monkeypatch: pytest.MonkeyPatch, decided: dict[str, int]) -> None:
    """Verdicts by the number of seeds: a cell is decided from so many on, whatever its numbers."""

    def fake(comparison: Any) -> Any:
        from dataclasses import replace

        def verdict(cell: Any) -> Verdict:
            label: Any = "worse" if len(cell.seeds) >= decided[cell.label] else "inconclusive"
            return Verdict(label=label, alpha=0.01, family=1)

        cells = [comparison.baseline]
        for cell in comparison.cells[1:]:
            metric = replace(cell.metrics[comparison.metric], verdict=verdict(cell))
            cells.append(replace(cell, metrics={**cell.metrics, comparison.metric: metric}))
        return replace(comparison, cells=tuple(cells))

    monkeypatch.setattr("ablation.compare.comparison.add_verdicts", fake)


def runs_of(folder: Path) -> dict[str, int]:
    manifest = json.loads((folder / "runs" / "small" / "manifest.json").read_text())
    return {cell["label"]: len(cell["runs"]) for cell in manifest["cells"]}


LEVELS = {"model.position": ["sinusoidal", "alibi", "rope"]}


def sequential_grid(folder: Path, **extra: Any) -> Path:
    file = write_grid(folder, LEVELS, {"training.max_steps": 2, "training.evaluate_every": 2})
    grid = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**grid, "interim_looks": [3, 4, 6], **extra}, sort_keys=False))
    return file


def test_until_decided_adds_seeds_only_where_needed(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide_at(monkeypatch, {"position=alibi": 3, "position=rope": 4})
    answer = ablate("run", sequential_grid(tmp_path), "--until-decided", "--json")
    assert runs_of(tmp_path) == {"position=sinusoidal": 4, "position=alibi": 3, "position=rope": 4}
    assert (answer.json["planned"], answer.json["executed"], answer.json["cached"]) == (11, 11, 0)
    assert "3 seeds: 1 of 2 changes decided; 2 runs more." in answer.err
    assert "4 seeds: 2 of 2 changes decided; done." in answer.err
    again = ablate("run", sequential_grid(tmp_path), "--until-decided", "--json")
    assert (again.json["planned"], again.json["executed"]) == (11, 0)


def test_until_decided_stops_at_budget_and_last_look(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide_at(monkeypatch, {"position=alibi": 99, "position=rope": 3})
    answer = ablate("run", sequential_grid(tmp_path), "--until-decided", "--budget", "11", "--json")
    assert runs_of(tmp_path) == {"position=sinusoidal": 4, "position=alibi": 4, "position=rope": 3}
    assert "the next look needs 4 runs, the budget has 0" in answer.err
    answer = ablate("run", sequential_grid(tmp_path), "--until-decided", "--json")
    assert runs_of(tmp_path) == {"position=sinusoidal": 6, "position=alibi": 6, "position=rope": 3}
    assert "6 seeds: 1 of 2 changes decided; no look is left." in answer.err


def test_interim_looks_stay_planned_in_later_runs(ablate: Ablate, tmp_path: Path) -> None:
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
        (["--until-decided", "--seeds", "3"], "--seeds: --until-decided chooses them"),
        (["--budget", "3"], "--budget: bounds --until-decided only"),
    ],
)
def test_until_decided_refuses_conflicting_options(ablate: Ablate, tmp_path: Path, words: list[str], what: str) -> None:
    answer = ablate("run", sequential_grid(tmp_path), *words)
    assert answer.code == 2 and what in one_line(answer)


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ({"interim_looks": [5, 3]}, "interim_looks: must be in ascending order"),
        ({"interim_looks": [1]}, "interim_looks"),
        ({"seeds": [1, 2]}, "seeds: are too few; the first planned look needs 3"),
        ({"metric": "exact_mach"}, "metric: 'exact_mach' is not measured; allowed: "),
        ({"margins": {"los": 0.1}}, "did you mean 'loss'?"),
        ({"margins": {"loss": -0.1}}, "margins"),
    ],
)
def test_until_decided_names_the_line_of_an_error(
    ablate: Ablate, tmp_path: Path, extra: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(LocalLauncher, "start", start)
    answer = ablate("run", sequential_grid(tmp_path, **extra), "--until-decided")
    assert answer.code == 2
    assert what in one_line(answer) and "small.yaml:" in answer.err


def test_alpha_spent_follows_the_interim_looks() -> None:
    assert families.alpha_spent(5, ()) == 0.05
    assert families.alpha_spent(5, (5, 8, 12)) == 0.010
    assert families.alpha_spent(8, (5, 8, 12)) == 0.015
