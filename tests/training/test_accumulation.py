"""Several batches per optimizer step: the step is that of one batch with all their targets."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_grids import numbers, small_config
from torch.nn.functional import cross_entropy

from ablation.tasks.base import IGNORED, Examples, Task
from ablation.tasks.loss import training_loss
from ablation.training.batches import TrainingBatches
from ablation.training.run import train

SPLITS = [(8, 1), (4, 2), (2, 4)]
"""Batch size and batches per step; 8 examples for each step."""
UNEVEN = {
    "model.architecture": "encoder_decoder",
    "model.dropout": 0.0,
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0},
    "training.precision": "64-true",
    "training.log_every": 1,
    "training.max_steps": 7,
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``run(batch_size, accumulate, {path: value})``: the numbers of a run on pairs whose outputs have 1 to 9 words."""
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "".join(f"{'b a ' * (1 + i % 3)}\t{'a b c ' * (i % 3)}{'c' if i % 2 else 'a b'}\n" for i in range(60))
    )

    def run(batch_size: int, accumulate: int, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        task = {"name": "sequence_to_sequence", "path": str(pairs), "length": 24, "batch_size": batch_size}
        changes = {**UNEVEN, "task": task, "training.accumulate": accumulate, **(settings or {})}
        directory = tmp_path / f"{batch_size}x{accumulate}"
        directory.mkdir()
        result = train(small_config(changes), directory)
        (directory / "result.json").write_text(json.dumps({"id": "", **result}))
        return numbers(directory)

    return run


@pytest.mark.parametrize(
    "settings",
    [
        {"training.gradient_clip": None},
        {"training.gradient_clip": 0.5},
        {"training.label_smoothing": 0.2, "training.z_loss": 0.1},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_step_is_the_same_however_it_is_cut_into_batches(run: Any, settings: dict[str, Any]) -> None:
    whole, *cut = (run(*split, settings) for split in SPLITS)
    for found in cut:
        for key in ("train/loss", "train/gradient_norm"):
            one, other = ([row[key] for row in each["rows"] if key in row] for each in (found, whole))
            assert len(one) == 7
            assert one == pytest.approx(other, rel=1e-9), key
        assert found["tokens"] == whole["tokens"]
        for name, value in whole["quality"]["final"].items():
            assert found["quality"]["final"][name] == pytest.approx(value, rel=1e-6), name


def rows(lengths: Sequence[int]) -> Examples:
    """Examples with so many targets each."""
    targets = torch.tensor([[1] * n + [IGNORED] * (5 - n) for n in lengths])
    return {"tokens": targets.clamp(min=0), "targets": targets}


class Fixed(Task):
    """The same examples in every epoch."""

    def __init__(self, batch_size: int, lengths: Sequence[int]):
        super().__init__(5, batch_size)
        self.lengths = lengths

    def training(self, seed: int, epoch: int) -> Examples:
        return rows(self.lengths)


def test_batches_count_by_their_targets() -> None:
    batches = list(TrainingBatches(Fixed(2, [1, 2, 3, 4, 5, 5, 0, 2, 1]), 0, 6, 2))
    assert len(batches) == 12
    for one, other in zip(batches[0::2], batches[1::2], strict=True):
        counts = [int((batch.examples["targets"] != IGNORED).sum()) for batch in (one, other)]
        assert [one.weight, other.weight] == pytest.approx([2 * n / sum(counts) for n in counts])
    assert len({batch.weight for batch in batches}) > 2
    alone = TrainingBatches(Fixed(2, [1, 2, 3, 4, 5, 5, 0, 2, 1]), 0, 9)
    assert {batch.weight for batch in alone} == {1.0}


@pytest.mark.parametrize(("n_examples", "expected"), [(9, [0, 4, 8]), (3, [0, 4, 8]), (1, [0, 2, 4])])
def test_epoch_too_small_for_a_step_goes_on_in_the_next(n_examples: int, expected: list[int]) -> None:
    """9 examples are two steps of 2 x 2, 3 are a batch each epoch, and 1 is a smaller one."""
    drawn = list(TrainingBatches(Fixed(2, [3] * n_examples), 0, 2, 2))
    sizes = [sum(len(batch.examples["targets"]) for batch in drawn[: 2 * step]) for step in range(3)]
    assert sizes == expected


def test_batch_without_targets_adds_nothing_but_auxiliary_losses() -> None:
    logits = torch.zeros(1, 5, 3, requires_grad=True)
    loss, task_loss = training_loss(Fixed(1, []), logits, rows([0]), [torch.tensor(0.5)], z_loss=0.1, weight=0.0)
    loss.backward()
    assert (loss.item(), task_loss.item()) == (0.5, 0.0)
    assert not logits.grad.any()


def test_step_without_targets_is_not_a_number() -> None:
    (one, other) = TrainingBatches(Fixed(1, [0, 0]), 0, 1, 2)
    assert (one.weight, other.weight) == (1.0, 1.0)
    loss, _ = training_loss(Fixed(1, []), torch.zeros(1, 5, 3), one.examples, weight=one.weight)
    assert loss.isnan()


class Squares(Fixed):
    """An own loss that is a mean over examples."""

    def loss(self, logits: torch.Tensor, batch: Examples) -> torch.Tensor:
        return (logits - batch["targets"]).square().mean()

    def count_targets(self, batch: Examples) -> int:
        return len(batch["targets"])


def test_own_task_says_what_its_loss_is_a_mean_over() -> None:
    assert {batch.weight for batch in TrainingBatches(Squares(1, [1, 5, 2, 4]), 0, 2, 2)} == {1.0}


def test_weights_of_a_step_make_the_mean_over_all_targets() -> None:
    task = Fixed(1, [1, 5, 2, 4])
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    step = list(TrainingBatches(task, 0, 1, 4))
    losses = [training_loss(task, logits[None], batch.examples, weight=batch.weight)[0] for batch in step]
    targets = torch.cat([batch.examples["targets"].flatten() for batch in step])
    expected = cross_entropy(logits.repeat(4, 1), targets, ignore_index=IGNORED)
    assert torch.stack(losses).mean().item() == pytest.approx(expected.item(), rel=1e-6)
