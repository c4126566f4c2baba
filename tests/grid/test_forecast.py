"""What a plan says to be expected: time from runs, from probed steps or by FLOPs, and what the seeds can show."""

from pathlib import Path

import pytest
from support.plans import factors, plan
from support.small_grids import NORMS, Ablate, output, write_grid

from ablation.grid.plan import Plan
from ablation.store.results import RunResult
from ablation.study.forecast import expected_time
from ablation.study.inert import inert_cells


def a_plan(folder: Path) -> Plan:
    return plan(folder, factors("{model.block: [pre_norm, post_norm]}", "seeds: 2\n"))


def results(planned: Plan, seconds: dict[str, float]) -> dict[str, RunResult]:
    """One finished run of each of these cells, of its two."""
    found = {run.id: RunResult(run.id, "missing") for run in planned.runs}
    for cell in planned.cells:
        if cell.label in seconds:
            run = cell.runs[0].id
            found[run] = RunResult(run, "completed", training_seconds=seconds[cell.label])
    return found


def test_time_is_that_of_the_runs_so_far_on_so_many_workers(tmp_path: Path) -> None:
    planned = a_plan(tmp_path)
    one, other = (cell.label for cell in planned.cells)
    time = expected_time(planned, results(planned, {one: 10.0, other: 30.0}), dict.fromkeys([one, other], 1.0), 2)
    assert time is not None
    assert (time.total, time.most) == ((10 + 30) / 2, (other, 0.75, 3.0))


def test_a_cell_without_runs_takes_as_long_as_its_operations(tmp_path: Path) -> None:
    planned = a_plan(tmp_path)
    one, other = (cell.label for cell in planned.cells)
    time = expected_time(planned, results(planned, {one: 10.0}), {one: 1e9, other: 4e9}, 1)
    assert time is not None
    assert time.seconds == {one: 10.0, other: 40.0}
    assert time.source == "the runs so far of 1 of 2 cells, others by their FLOPs"


def test_probed_steps_are_multiplied_by_their_number(tmp_path: Path) -> None:
    planned = a_plan(tmp_path)
    steps = {cell.label: 0.5 for cell in planned.cells}
    time = expected_time(planned, results(planned, {}), dict.fromkeys(steps, 1.0), 1, steps)
    assert time is not None
    assert time.total == 4 * 0.5 * planned.runs[0].config.training.max_steps


def test_before_the_first_run_nothing_is_said_of_time(tmp_path: Path) -> None:
    planned = a_plan(tmp_path)
    assert expected_time(planned, results(planned, {}), {}, 1) is None


def test_levels_without_effect_are_found(tmp_path: Path) -> None:
    levels = "{optimizer.decay_embeddings: [true, false], model.mixer.window: [null, 8, 4], optimizer.lr: [1e-3, 2e-3]}"
    design = "design: one_at_a_time\nset: {optimizer.weight_decay: 0.0}\nseeds: 1\n"  # of sequences of 8 tokens
    planned = plan(tmp_path, factors(levels, design))
    assert inert_cells(planned) == ["decay_embeddings=false", "window=8"]
    longer = plan(tmp_path, factors("{model.mixer.window: [null, 64]}", "seeds: 1\n"))
    assert inert_cells(longer) == ["window=64"]


def test_what_two_steps_cannot_show_is_not_called_inert(tmp_path: Path) -> None:
    planned = plan(tmp_path, factors("{training.evaluate_every: [5, 10]}", "seeds: 1\n"))
    assert inert_cells(planned) == []


@pytest.mark.slow
def test_a_plan_says_what_its_seeds_can_show(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, {}, seeds=3)
    grid.write_text(f"{grid.read_text()}\nmetric: loss\n")
    assert "seeds detect differences" not in output(ablate("plan", grid))
    assert "time: about" in output(ablate("plan", grid, "--probe"))
    output(ablate("run", grid))
    text = " ".join(output(ablate("plan", grid, "--seeds", "4")).split())
    assert "4 seeds detect differences of" in text
    assert "2 to train" in text
