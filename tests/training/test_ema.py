"""The average of the weights: the right one, evaluated and kept, without any influence on the steps."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.resume import interrupted
from support.small_grids import small_config
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ablation.components.architecture.base import call_model
from ablation.model.build import build_model
from ablation.model.weights import load_weights
from ablation.tasks.base import model_inputs
from ablation.training.ema import WeightEMA
from ablation.training.run import train

DECAY = 0.7
DOUBLE = {"training.max_steps": 7, "training.precision": "64-true", "training.log_every": 1, "model.dropout": 0.0}
PLAIN, AVERAGED = {"training.ema_decay": None}, {"training.ema_decay": DECAY}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """``run({path: value})``: the directory and the result of a run in double precision."""

    def run(settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        directory.mkdir()
        return directory, train(small_config({**DOUBLE, **settings}), directory)

    return run


def rows(directory: Path, key: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if key in row]


def kept_model(directory: Path, settings: dict[str, Any]) -> tuple[Any, nn.Module]:
    """The task of a run, and its model with the weights that were kept."""
    config = small_config({**DOUBLE, **settings})
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed).double().eval()
    load_weights(model, directory / "weights.safetensors")
    return task, model


@pytest.fixture
def weights_by_step(monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """The weights of a run before its first step, and after each."""
    found: list[list[Tensor]] = []

    def noting(hook: Callable[..., None]) -> Callable[..., None]:
        def noted(ema: WeightEMA, *arguments: Any) -> None:
            found.append([weight.detach().clone() for weight in ema.weights])
            hook(ema, *arguments)

        return noted

    for name in ("on_train_start", "on_train_batch_end"):
        monkeypatch.setattr(WeightEMA, name, noting(getattr(WeightEMA, name)))
    return found


def test_ema_is_that_of_torch_after_the_mean_of_the_first_weights(run: Any, weights_by_step: Any) -> None:
    directory, _ = run(AVERAGED)
    (_, kept), (_, model) = (kept_model(directory, AVERAGED) for _ in range(2))
    mean = AveragedModel(model)  # torch's mean with equal weights
    n_equal = next(step for step in range(1, 100) if 1 - 1 / (step + 1) >= DECAY)
    assert 1 < n_equal < DOUBLE["training.max_steps"] - 1
    averaged: AveragedModel | None = None
    for step, weights in enumerate(weights_by_step):
        with torch.no_grad():
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.copy_(weight)
        if step < n_equal:
            mean.update_parameters(model)
            continue
        if averaged is None:
            averaged = AveragedModel(deepcopy(mean.module), multi_avg_fn=get_ema_multi_avg_fn(DECAY))
            averaged.n_averaged += 1  # else the first update would be a copy
        averaged.update_parameters(model)
    assert len(weights_by_step) == DOUBLE["training.max_steps"] + 1
    assert averaged is not None
    for found, of_torch in zip(kept.parameters(), averaged.module.parameters(), strict=True):
        torch.testing.assert_close(found.detach(), of_torch.detach(), rtol=1e-12, atol=1e-12)


def test_average_is_what_is_evaluated_and_kept(run: Any) -> None:
    directory, result = run(AVERAGED)
    task, model = kept_model(directory, AVERAGED)
    batch = task.validation()
    with torch.no_grad():
        loss = task.loss(call_model(model, model_inputs(batch)), batch)
    assert result["quality"]["final"]["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert rows(directory, "validation/loss")[-1]["validation/loss"] == pytest.approx(float(loss), rel=1e-6)


def test_average_leaves_the_steps_alone(run: Any) -> None:
    (plain, _), (averaged, _) = run(PLAIN), run(AVERAGED)
    steps = [[row["train/loss"] for row in rows(directory, "train/loss")] for directory in (plain, averaged)]
    assert steps[0] == steps[1]
    assert (
        rows(plain, "validation/loss")[-1]["validation/loss"]
        != (rows(averaged, "validation/loss")[-1]["validation/loss"])
    )


def test_accumulating_run_averages_once_a_step(run: Any, weights_by_step: Any) -> None:
    directory, _ = run({**AVERAGED, "training.accumulate": 2, "training.max_steps": 2})
    first, *_ = weights_by_step
    after = [weights_by_step[2], weights_by_step[4]]  # of each second batch
    expected = [(a + b + c) / 3 for a, b, c in zip(first, *after, strict=True)]
    _, model = kept_model(directory, AVERAGED)
    for found, mean in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), mean)


@pytest.mark.parametrize("at", [[1], [3], [4], [6, 11], range(1, 12)], ids=str)
def test_interrupted_average_goes_on_exactly(at: Any, tmp_path: Path) -> None:
    """Evaluations are after steps 3, 6, 9 and 12."""
    whole = interrupted(tmp_path / "whole", {"training.ema_decay": 0.8})
    assert interrupted(tmp_path / "parts", {"training.ema_decay": 0.8}, at) == whole
