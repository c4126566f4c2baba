"""The loss by position in a sequence, as a run writes it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_grids import small_config
from torch.nn.functional import cross_entropy

from ablation.model.build import build_model
from ablation.model.weights import load_weights
from ablation.training.run import train

TEXT = {"task": {"name": "text", "length": 40, "batch_size": 4, "validation_windows": 5, "extrapolate": 2}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    config = small_config({**TEXT, "training.max_steps": 3, "training.evaluate_every": 2})
    return config, folder, train(config, folder)


def test_parts_are_the_losses_at_their_positions(trained: Any) -> None:
    config, folder, result = trained
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed)
    load_weights(model, folder / "weights.safetensors")
    examples = task.validation()
    with torch.no_grad():
        scores = model.eval()(examples["tokens"])
    losses = cross_entropy(scores.transpose(1, 2), examples["targets"], reduction="none").mean(0)
    curve = result["quality"]["by_position"][""]
    assert len(curve["loss"]) == 32
    # 40 positions in 32 parts: the first eight parts have two
    assert curve["position"][:2] == [1.5, 3.5] and curve["position"][-1] == 40
    assert curve["loss"][0] == pytest.approx(float(losses[:2].mean()), rel=1e-4)
    assert curve["loss"][-1] == pytest.approx(float(losses[-1]), rel=1e-4)


def test_longer_sequences_have_a_curve_and_all_average_to_the_loss(trained: Any) -> None:
    _, _, result = trained
    curves, final = result["quality"]["by_position"], result["quality"]["final"]
    assert list(curves) == ["", "@2x"]
    assert curves["@2x"]["position"][-1] > 75
    parts = [80 // 32 + (part < 80 % 32) for part in range(32)]
    mean = sum(loss * n for loss, n in zip(curves["@2x"]["loss"], parts, strict=True)) / 80
    assert mean == pytest.approx(final["loss@2x"], rel=1e-4)


def test_task_with_few_target_tokens_has_no_curve(tmp_path: Path) -> None:
    assert train(small_config(), tmp_path)["quality"]["by_position"] == {}
