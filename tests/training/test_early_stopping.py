"""Early stopping: a run ends where Lightning's own callback would end it, and says so."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import EarlyStopping as EarlyStoppingOfLightning
from support.resume import interrupted, left_by
from support.small_grids import small_config

from ablation.config.experiment import EarlyStoppingConfig
from ablation.training.early_stopping import EarlyStopping
from ablation.training.run import train

STOPPING = {
    "optimizer.lr": 0.05,  # so that it soon is as good as it gets
    "training.max_steps": 60,
    "training.evaluate_every": 3,
    "training.early_stopping": {"patience": 2},
}
CONSTANT = {**STOPPING, "schedule": {"name": "constant", "warmup_ratio": 0.0}}
"""With the same learning rates whatever the number of steps."""


@settings(max_examples=200)
@given(
    values=st.lists(st.integers(0, 16).map(lambda n: n / 4), min_size=4, max_size=12),  # which subtract exactly
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.5]),
    better=st.sampled_from(["lower", "higher"]),
)
def test_early_stopping_ends_where_that_of_lightning_does(
    values: list[float], patience: int, min_delta: float, better: Any
) -> None:
    mode = "min" if better == "lower" else "max"
    theirs = EarlyStoppingOfLightning("loss", min_delta=min_delta, patience=patience, mode=mode)
    rule = EarlyStoppingConfig(patience=patience, min_delta=min_delta)
    ours = EarlyStopping(rule, "loss", better, SimpleNamespace())  # type: ignore[arg-type]
    for step, value in enumerate(values, 1):
        stops, _ = theirs._evaluate_stopping_criteria(torch.tensor(value))
        ours.evaluated(step, value)
        assert stops == (ours.reason is not None)
        if stops:
            return


def test_value_that_is_not_finite_is_no_improvement() -> None:
    ours = EarlyStopping(EarlyStoppingConfig(patience=2), "loss", "lower", SimpleNamespace())  # type: ignore[arg-type]
    for value in (1.0, math.nan, -math.inf):
        assert ours.reason is None
        ours.evaluated(1, value)
    assert ours.reason == "no validation loss better than 1 at step 1 in 2 evaluations"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that was stopped early: its directory and its result."""
    directory = tmp_path_factory.mktemp("stopped")
    return directory, train(small_config(STOPPING), directory)


def evaluations(directory: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["validation/exact_match"]) for row in rows if "validation/exact_match" in row]


def test_stopped_run_says_at_which_step_and_why(stopped: Any) -> None:
    directory, result = stopped
    *before, best, worse, last = evaluations(directory)
    assert best[1] >= max(worse[1], last[1]) and best[1] > max((value for _, value in before), default=-1)
    assert last[0] == best[0] + 6 < 60
    reason = f"no validation exact_match better than {best[1]:.6g} at step {best[0]} in 2 evaluations"
    assert result["record"]["stopped_early"] == {"step": last[0], "of": 60, "reason": reason}
    assert result["reason"] == f"stopped early after {last[0]} of 60 steps: {reason}"
    assert result["status"] == "completed"


def test_stopped_run_has_the_numbers_of_its_last_step(stopped: Any) -> None:
    directory, result = stopped
    *_, last = evaluations(directory)
    assert result["efficiency"]["steps"] == last[0]
    assert result["efficiency"]["tokens"] == last[0] * 4 * 8
    assert result["quality"]["final"]["exact_match"] == last[1]
    assert (directory / "weights.safetensors").exists()


def test_stopped_run_is_the_beginning_of_one_that_goes_on(stopped: Any, tmp_path: Path) -> None:
    directory, _ = stopped
    found = evaluations(directory)
    train(small_config({**STOPPING, "training.early_stopping": None}), tmp_path)
    assert evaluations(tmp_path)[: len(found)] == found


def test_losses_by_example_are_those_of_the_last_evaluation(tmp_path: Path) -> None:
    """As in a run without early stopping whose last step is the same one."""
    result = train(small_config(CONSTANT), tmp_path)
    n_steps = result["record"]["stopped_early"]["step"]
    (tmp_path / "whole").mkdir()
    as_long = {**CONSTANT, "training.early_stopping": None, "training.max_steps": n_steps}
    whole = left_by(tmp_path / "whole", train(small_config(as_long), tmp_path / "whole"))
    assert left_by(tmp_path, result)["example_losses.npy"] == whole["example_losses.npy"] is not None


@pytest.mark.parametrize("back", [[1], [3], [4, 2], [6, 5, 4, 3, 2, 1]], ids=str)
def test_interrupted_run_stops_at_the_same_step(back: list[int], stopped: Any, tmp_path: Path) -> None:
    """So many steps before the one at which it stops."""
    directory, result = stopped
    last = result["record"]["stopped_early"]["step"]
    accumulated = {**STOPPING, "training.accumulate": 1, "training.log_every": 2, "training.monitor_every": 50}
    found = interrupted(tmp_path / "parts", accumulated, [last - steps for steps in back])
    assert found == left_by(directory, result)


def test_run_that_is_asked_to_stop_where_it_stops_early_has_ended(stopped: Any, tmp_path: Path) -> None:
    _, result = stopped
    last, steps = result["record"]["stopped_early"]["step"], iter(range(1, 1000))
    again = train(small_config(STOPPING), tmp_path, stop=lambda: next(steps) == last)
    assert again["record"]["stopped_early"] == result["record"]["stopped_early"]


def test_run_that_would_stop_after_its_last_step_is_not_stopped_early(tmp_path: Path) -> None:
    n_steps = train(small_config(CONSTANT), tmp_path)["record"]["stopped_early"]["step"]
    (tmp_path / "whole").mkdir()
    whole = train(small_config({**CONSTANT, "training.max_steps": n_steps}), tmp_path / "whole")
    assert "stopped_early" not in whole["record"] and whole["reason"] is None
