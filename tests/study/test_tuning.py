"""Tuning: the same values for every cell, on seeds that nothing is reported on, and what is said of the choice."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_grids import NORMS, Ablate, ids_of, one_line, output, trouble, write_grid, write_trouble
from support.stores import rewrite

from ablation.study.study import Study

RATES = [1e-4, 1e-3, 1e-2]


def tuned_grid(folder: Path, tune: dict[str, Any] | None = None, **keys: Any) -> Path:
    """A grid of two cells and three seeds in which the learning rate is tuned by the loss."""
    file = write_grid(folder, NORMS, {}, name="tuned", seeds=3)
    written = yaml.safe_load(file.read_text())
    written["tune"] = {"settings": {"optimizer.lr": RATES}, "seeds": 2, **(tune or {})}
    file.write_text(yaml.safe_dump({**written, "metric": "loss", **keys}, sort_keys=False))
    return file


def losses(folder: Path, losses_by_rate: dict[float, float]) -> None:
    """Give the tuning runs of every cell such losses, and the second tuning seed a little more."""
    runs = folder / "runs"
    manifest = json.loads((runs / "tuned.tuning" / "manifest.json").read_text())
    for cell in manifest["cells"]:
        for number, run in enumerate(cell["runs"]):
            file = runs / "store" / run["id"][:2] / run["id"] / "result.json"
            result = json.loads(file.read_text())
            result["quality"]["final"]["loss"] = losses_by_rate[cell["settings"]["optimizer.lr"]] + number / 100
            rewrite(file, result)


def rates(runs: Path) -> list[float]:
    """At which the runs that are reported were trained, cell by cell."""
    found = []
    for ids in ids_of(runs, "tuned").values():
        records = [json.loads((runs / "store" / run[:2] / run / "run.json").read_text()) for run in ids]
        (rate,) = {record["config"]["optimizer"]["lr"] for record in records}
        found.append(rate)
    return found


def test_each_cell_is_tuned_alike_and_reported_on_other_seeds(ablate: Ablate, tmp_path: Path) -> None:
    ran = ablate("run", tuned_grid(tmp_path))
    said = output(ran)
    assert "tuned: tuning first, 12 runs in tuned.tuning" in ran.err
    tuning, reported = ids_of(tmp_path / "runs", "tuned.tuning"), ids_of(tmp_path / "runs", "tuned")
    assert [len(runs) for runs in tuning.values()] == [2] * 6
    assert [len(runs) for runs in reported.values()] == [3] * 2
    assert not {run for runs in tuning.values() for run in runs} & {run for runs in reported.values() for run in runs}
    manifest = json.loads((tmp_path / "runs" / "tuned" / "manifest.json").read_text())
    assert not {*manifest["seeds"]} & {*manifest["tuning"]["seeds"]}
    assert [cell["label"] for cell in manifest["tuning"]["cells"]] == list(reported)
    assert "optimizer.lr of 0.0001, 0.001, 0.01, the same for every cell on 2 tuning seeds" in " ".join(said.split())


def test_the_value_with_the_best_mean_over_the_tuning_seeds_is_reported(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path)
    output(ablate("run", grid))
    losses(tmp_path, {1e-4: 1.2, 1e-3: 1.1, 1e-2: 1.5})
    output(ablate("run", grid, "--seeds", "2"))
    assert rates(tmp_path / "runs") == [1e-3, 1e-3]
    assert "at the edge" not in output(ablate("table", grid))


def test_a_rate_at_which_one_seed_diverged_is_not_chosen(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path)
    output(ablate("run", grid))
    losses(tmp_path, {1e-4: 1.2, 1e-3: 1.1, 1e-2: 1.5})
    for runs in ids_of(tmp_path / "runs", "tuned.tuning").values():
        file = tmp_path / "runs" / "store" / runs[0][:2] / runs[0] / "result.json"
        result = json.loads(file.read_text())
        if result["quality"]["final"]["loss"] == 1.1:
            rewrite(file, {**result, "status": "diverged", "reason": "the loss is not finite"})
    output(ablate("run", grid, "--seeds", "2"))
    assert rates(tmp_path / "runs") == [1e-4, 1e-4]


def test_the_best_value_at_the_edge_is_said(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path)
    output(ablate("run", grid))
    losses(tmp_path, {1e-4: 1.2, 1e-3: 1.1, 1e-2: 1.0})
    said = output(ablate("run", grid, "--seeds", "2")).replace("\n", " ")
    assert "best at the edge of these for block=pre_norm; block=post_norm" in " ".join(said.split())


def test_an_edge_adds_a_value_for_every_cell_on_request(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path, {"extend": True})
    plan = Study(grid, runs=tmp_path / "runs").plan()
    assert plan.tuning is not None
    assert len(plan.tuning.plan.cells) == 6
    output(ablate("run", tuned_grid(tmp_path)))
    losses(tmp_path, {1e-4: 1.2, 1e-3: 1.1, 1e-2: 1.0})
    plan = Study(tuned_grid(tmp_path, {"extend": True}), runs=tmp_path / "runs").plan()
    assert plan.tuning is not None
    assert plan.tuning.tried == {"optimizer.lr": ["0.0001", "0.001", "0.01", "0.1"]}
    assert not plan.tuning.ended
    assert len(plan.tuning.plan.cells) == 8
    assert plan.tuning.plan.cells[0].label == "block=pre_norm lr=0.0001"


def test_multiples_are_of_what_each_cell_has(ablate: Ablate, tmp_path: Path) -> None:
    optimizers = [
        {"label": "adamw", "set": {"optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}}},
        {"label": "sgd", "set": {"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}}},
    ]
    file = write_grid(tmp_path, {"rule": optimizers}, {}, name="tuned", seeds=1)
    written = {**yaml.safe_load(file.read_text()), "tune": {"settings": {"optimizer.lr": {"times": [0.5, 2]}}}}
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    plan = Study(file, runs=tmp_path / "runs").plan()
    assert plan.tuning is not None
    assert [cell.runs[0].config.optimizer.lr for cell in plan.tuning.plan.cells] == [5e-4, 2e-3, 0.05, 0.2]
    assert plan.tuning.plan.cells[3].label == "rule=sgd lr_times=2"


def test_a_range_is_spaced_evenly_in_the_logarithm(tmp_path: Path) -> None:
    file = tuned_grid(tmp_path, {"settings": {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "n": 3}}})
    plan = Study(file, runs=tmp_path / "runs").plan()
    assert plan.tuning is not None
    assert [cell.runs[0].config.optimizer.lr for cell in plan.tuning.plan.cells[:3]] == [1e-4, 1e-3, 1e-2]


def test_before_tuning_has_ended_nothing_is_compared(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path)
    refused = ablate("table", grid)
    assert refused.code == 2
    assert "is not tuned yet" in one_line(refused)
    assert "0 of 12 runs finished" in " ".join(output(ablate("plan", grid)).split())


def test_runs_with_untuned_values_are_not_those_that_tuning_will_report(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path)
    shared = {**yaml.safe_load(grid.read_text()), "name": "shared"}
    del shared["tune"]
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(shared, sort_keys=False))
    output(ablate("run", tmp_path / "shared.yaml"))
    assert "tuned: 6 runs, 0 finished, 6 to train" in output(ablate("plan", grid))


@pytest.mark.parametrize(
    ("tune", "what"),
    [
        ({"settings": {"model.block": ["pre_norm", "post_norm"]}}, "is varied by the factor block"),
        ({"settings": {"optimizer.lr": [1e-3, 1e-3]}}, "the value 0.001 appears twice"),
        ({"settings": {"optimizer.lr": {"low": 1e-2, "high": 1e-4, "n": 3}}}, "low must be below high"),
        ({"settings": {"optimizer.lrr": [1e-3, 1e-2]}}, "lrr"),
        ({"settings": {"model.norm": ["layer_norm", "rms_norm"]}, "extend": True}, "needs positive numbers in order"),
        ({"settings": {"model.dropout": {"times": [True, 2]}}}, "settings"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(
    ablate: Ablate, tmp_path: Path, tune: dict[str, Any], what: str
) -> None:
    refused = ablate("plan", tuned_grid(tmp_path, tune))
    assert refused.code == 2
    assert what in one_line(refused)


def test_seeds_of_tuning_are_none_that_the_file_lists(ablate: Ablate, tmp_path: Path) -> None:
    first = Study(tuned_grid(tmp_path), runs=tmp_path / "runs").plan().tuning
    assert first is not None
    again = Study(tuned_grid(tmp_path, seeds=[1, first.plan.seeds[0]]), runs=tmp_path / "runs").plan().tuning
    assert again is not None
    assert first.plan.seeds[0] not in again.plan.seeds
    assert first.plan.seeds[1] in again.plan.seeds


def test_a_random_search_tries_the_same_values_for_every_cell(ablate: Ablate, tmp_path: Path) -> None:
    tune = {"settings": {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}, "search": {"name": "random", "n": 3}}
    said = output(ablate("run", tuned_grid(tmp_path, tune)))
    assert "optimizer.lr of 0.0001 to 0.01, 3 at random, the same for every cell" in " ".join(said.split())
    first, second = json.loads((tmp_path / "runs" / "tuned" / "manifest.json").read_text())["tuning"]["cells"]
    assert [trial["values"] for trial in first["trials"]] == [trial["values"] for trial in second["trials"]]
    for cell in (first, second):
        best = min(cell["trials"], key=lambda trial: trial["score"])
        assert cell["chosen"] == best["values"]


def test_halving_trains_few_settings_in_full(ablate: Ablate, tmp_path: Path) -> None:
    tune = {
        "settings": {"optimizer.lr": {"low": 1e-4, "high": 1e-2}},
        "search": {"name": "successive_halving", "n": 4, "factor": 2, "rounds": 2},
    }
    said = output(ablate("run", tuned_grid(tmp_path, tune)))
    assert "4 then 2 by successive halving" in said.replace("\n", " ").replace("  ", " ")
    for cell in json.loads((tmp_path / "runs" / "tuned" / "manifest.json").read_text())["tuning"]["cells"]:
        short, whole = cell["trials"][:4], cell["trials"][4:]
        assert [trial["share"] for trial in (*short, *whole)] == [0.5] * 4 + [1.0] * 2
        best_two = sorted(short, key=lambda trial: trial["score"])[:2]
        assert [trial["values"] for trial in whole] == [trial["values"] for trial in best_two]
        assert cell["chosen"] == min(whole, key=lambda trial: trial["score"])["values"]
    plan = json.loads(output(ablate("plan", tuned_grid(tmp_path, tune), "--json")))
    assert (plan["tuning"]["finished"], plan["tuning"]["planned"]) == (24, 24)


def test_optuna_asks_for_one_trial_after_the_other(ablate: Ablate, tmp_path: Path) -> None:
    tune = {"settings": {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}, "search": {"name": "optuna", "n": 3}, "seeds": 1}
    ran = ablate("run", tuned_grid(tmp_path, tune))
    said = output(ran)
    assert "3 one after the other by Optuna's tpe sampler, the same number for every cell" in " ".join(said.split())
    assert [f"tuning first, {n} runs" in ran.err for n in (2, 4, 6)] == [True] * 3
    assert "0 of 3 runs" not in output(ablate("run", tuned_grid(tmp_path, tune)))


def test_values_that_are_tried_twice_are_trained_once(ablate: Ablate, tmp_path: Path) -> None:
    tune = {"settings": {"optimizer.lr": [1e-3, 1e-2]}, "search": {"name": "random", "n": 5}, "seeds": 1}
    output(ablate("run", tuned_grid(tmp_path, tune)))
    assert len(ids_of(tmp_path / "runs", "tuned.tuning")) == 2 * 2


@pytest.mark.parametrize(
    ("tune", "what"),
    [
        ({"settings": {"optimizer.lr": {"low": 1e-4, "high": 1e-2}}}, "needs `n`, how many values are taken"),
        ({"extend": True, "search": "random"}, "is for the search `grid`, not for random"),
        ({"search": "rnadom"}, "did you mean 'random'?"),
        ({"search": {"name": "random", "n": 1}}, "tune.search.n"),
    ],
)
def test_searches_that_cannot_be(ablate: Ablate, tmp_path: Path, tune: dict[str, Any], what: str) -> None:
    assert what in one_line(ablate("plan", tuned_grid(tmp_path, tune)))


def test_the_plan_says_how_long_tuning_and_controls_take(ablate: Ablate, tmp_path: Path) -> None:
    grid = tuned_grid(tmp_path, controls={"a_a": True, "determinism": False})
    before = json.loads(output(ablate("plan", grid, "--json", "--probe", "--workers", "1")))["time"]
    one = before["seconds_per_run"]
    a, b = one.values()
    assert before["seconds_before"] == pytest.approx(6 * (a + b) + 3 * a)
    assert before["seconds"] == pytest.approx(9 * (a + b) + 3 * a)
    output(ablate("run", grid))
    after = json.loads(output(ablate("plan", grid, "--json", "--seeds", "4", "--workers", "1")))["time"]
    assert after["seconds_before"] == pytest.approx(after["seconds_per_run"]["block=pre_norm"])  # the fourth A/A run
    assert after["seconds"] - after["seconds_before"] == pytest.approx(sum(after["seconds_per_run"].values()))


def test_tuning_in_which_all_runs_of_a_cell_failed_goes_on_by_retry(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any
) -> None:
    grid, plugin = write_grid(tmp_path, trouble("fail_while"), name="tuned"), write_trouble(tmp_path)
    written = yaml.safe_load(grid.read_text())
    grid.write_text(yaml.safe_dump({**written, "tune": {"settings": {"optimizer.lr": RATES[:2]}, "seeds": 1}}))
    (tmp_path / "fail").touch()
    for _ in range(2):
        answer = ablate("run", grid, "--plugin", plugin)
        line = answer.err.splitlines()[-1]
        assert answer.code == 2
        assert "no value of optimizer.lr was trained to its end on all tuning seeds (cell schedule=fail_while)" in line
        assert "--retry failed tries again what failed" in line
    (tmp_path / "fail").unlink()
    assert ablate("run", grid, "--plugin", plugin, "--retry", "failed", "--json").json["completed"] == 2
