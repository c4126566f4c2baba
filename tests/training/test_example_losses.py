"""The losses that a run keeps of each validation example."""

from pathlib import Path

import numpy
import pytest
import torch
from support.small_grids import small_config
from torch.nn.functional import cross_entropy

from ablation.model.build import build_model
from ablation.model.weights import load_weights
from ablation.store.example_losses import ExampleLosses, read_example_losses
from ablation.tasks.base import IGNORED
from ablation.training import evaluation
from ablation.training.run import train

TEXT = {"task": {"name": "text", "length": 40, "batch_size": 4, "validation_windows": 10, "extrapolate": 2}}
# Three evaluations: of the last alone the losses are kept.
STEPS = {"training.max_steps": 3, "training.evaluate_every": 1}


def kept(directory: Path) -> ExampleLosses:
    losses = read_example_losses(directory)
    assert losses is not None
    return losses


def computed(config, directory: Path) -> torch.Tensor:
    """The loss of each example by the weights that the run left, from the model's logits for one large batch."""
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    load_weights(model, directory / "weights.safetensors")
    examples = task.validation()
    with torch.no_grad():
        inputs = {name: tensor for name, tensor in examples.items() if name not in ("targets", "tokens")}
        logits = model.eval()(examples["tokens"], **inputs)
    targets = examples["targets"]
    losses = [
        cross_entropy(scores.view(-1, scores.shape[-1]), wanted.view(-1), ignore_index=IGNORED, reduction="sum")
        for scores, wanted in zip(logits, targets, strict=True)
    ]
    return torch.stack([torch.stack(losses), (targets != IGNORED).flatten(1).sum(1) if targets.dim() > 1 else
                        torch.ones(len(targets))])  # fmt: skip


@pytest.mark.parametrize("settings", [{}, TEXT], ids=["few targets", "text"])
def test_sums_and_counts_are_those_of_each_example(tmp_path: Path, settings) -> None:
    config = small_config({**settings, **STEPS})
    result = train(config, tmp_path)
    losses, expected = kept(tmp_path), computed(config, tmp_path)
    assert losses.sums == pytest.approx(expected[0].numpy(), rel=1e-4)
    assert (losses.counts == expected[1].numpy()).all()
    assert losses.sums.sum() / losses.counts.sum() == pytest.approx(result["quality"]["final"]["loss"], rel=1e-5)


def test_classes_have_one_target_each(tmp_path: Path) -> None:
    rows = [f"{'good' if number % 2 else 'bad'} text number {number},{number % 2}" for number in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,class", *rows]))
    task = {"name": "classification", "path": str(tmp_path / "rows.csv"), "length": 24, "batch_size": 4}
    config = small_config({"task": task, "model.architecture": "encoder", **STEPS})
    result = train(config, tmp_path)
    losses = kept(tmp_path)
    assert set(losses.counts) == {1.0}
    assert losses.sums.mean() == pytest.approx(result["quality"]["final"]["loss"], rel=1e-5)


def test_large_validation_sets_keep_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MOST_EXAMPLES", 9)
    result = train(small_config({**TEXT, **STEPS}), tmp_path)
    assert read_example_losses(tmp_path) is None
    assert result["quality"]["by_position"][""]["loss"]


def test_run_that_diverged_keeps_none(tmp_path: Path) -> None:
    rate = {"optimizer.lr": 1e30, "training.gradient_clip": None, "training.max_steps": 12}
    result = train(small_config({**TEXT, **rate}), tmp_path)
    assert result["status"] == "diverged" and read_example_losses(tmp_path) is None


def test_same_examples_of_two_seeds_have_other_losses(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        train(small_config({**TEXT, **STEPS, "seed": seed}), folder)
        found.append(kept(folder))
    assert (found[0].counts == found[1].counts).all()
    assert not numpy.allclose(found[0].sums, found[1].sums)
