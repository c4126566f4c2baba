"""Evaluations beyond the validation metrics: scores of greedy decoding, and the loss by position and by example.

Shapes: B sequences, L tokens, V vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from ..model.generate import SamplingParams, generate
from ..tasks.base import IGNORED, Examples, Task, count_examples
from ..tasks.loss import has_cross_entropy
from ..tasks.minimal_pairs import PAIR_ACCURACY, log_probabilities, pair_accuracies
from .batches import ValidationBatches

BATCH_FACTOR = 8
"""Batches of decoding are this many times as large as those of training, since its steps are small."""
MOST_EXAMPLES = 4096
"""The largest validation set whose losses are kept example by example: 32 KiB a run."""
N_PARTS = 32
"""Largest number of parts that the positions of a sequence are averaged in."""


class GreedyDecodingEval(lightning.Callback):
    """What an encoder-decoder writes by itself, scored once, after the last step, on every validation set.

    Outputs are cut after ``task.length`` tokens, the longest that could be right. Tasks of other kinds have no such
    scores, nor have own models without ``encode``.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        sets: Mapping[str, ValidationBatches],
        alive: Callable[[], None] = lambda: None,
    ):
        self.task, self.model, self.sets, self.alive = task, model, sets, alive
        self.scores: dict[str, float] = {}
        """By metric and suffix of the set, as ``edit_distance@24-28``."""

    def on_train_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        if self.task.kind != "seq2seq" or not callable(getattr(self.model, "encode", None)):
            return
        with trainer.precision_plugin.forward_context():  # as in validation
            for suffix, batches in self.sets.items():
                self.scores[f"edit_distance{suffix}"] = self.score(batches, learner.device)

    def score(self, batches: ValidationBatches, device: torch.device) -> float:
        """The edit distance over a validation set."""
        from ..tasks.metrics import edit_distance

        outputs: list[list[int]] = []
        targets: list[list[int]] = []
        for batch in ValidationBatches(batches.examples, BATCH_FACTOR * batches.batch_size):
            self.alive()
            decoded = self.decode({name: tensor.to(device) for name, tensor in batch.items()})
            outputs += self.token_lists(decoded)
            targets += self.token_lists(batch["targets"])
        return edit_distance(outputs, targets)

    @torch.no_grad()
    def decode(self, batch: Examples) -> Tensor:
        """What the model writes for the sources of a batch, after the begin token: ids (B, L)."""
        self.model.eval()
        source, source_padding = batch["source"], batch["source_padding"]
        assert self.task.begin is not None
        return generate(
            self.model,
            torch.full_like(source[:, :1], self.task.begin),
            self.task.length,
            SamplingParams(temperature=0),
            end=self.task.end,
            memory=self.model.encode(source, source_padding),  # type: ignore[operator]
            source_padding=source_padding,
        )[:, 1:]

    def token_lists(self, ids: Tensor) -> Iterator[list[int]]:
        """Token ids (B, L) as one list per row, each up to its end token."""
        for row in ids.tolist():
            end = row.index(self.task.end) if self.task.end in row else len(row)
            yield [token for token in row[:end] if token != IGNORED]


class FinalEval(lightning.Callback):
    """The metrics of a task on the sets that are scored once, after the last step."""

    def __init__(self, metrics_of: Callable[[str], Mapping[str, Metric]], sets: Mapping[str, ValidationBatches]):
        """``metrics_of``: new metrics of a set by its name."""
        self.metrics_of, self.sets = metrics_of, sets
        self.scores: dict[str, float | None] = {}
        """By metric and suffix of the set, as ``exact_match@jump``; None where one is not finite."""
        self.higher_is_better: dict[str, bool | None] = {}

    @torch.no_grad()
    def on_train_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        learner.eval()
        for suffix, batches in self.sets.items():
            metrics = nn.ModuleDict(self.metrics_of(suffix.removeprefix("@"))).to(learner.device)
            with trainer.precision_plugin.forward_context():  # as in validation
                for batch in batches:
                    on_device = {name: tensor.to(learner.device) for name, tensor in batch.items()}
                    logits = learner(on_device)
                    for metric in metrics.values():
                        metric.update(logits, on_device["targets"])  # type: ignore[operator]
            for name, metric in metrics.items():
                score = float(metric.compute())  # type: ignore[operator]
                self.scores[f"{name}{suffix}"] = score if math.isfinite(score) else None
                self.higher_is_better[f"{name}{suffix}"] = metric.higher_is_better  # type: ignore[assignment]


class MinimalPairsEval(lightning.Callback):
    """How often the better sentence of a minimal pair is likelier, after the last step; see ``tasks.minimal_pairs``."""

    def __init__(self, task: Task):
        self.task = task
        self.scores: dict[str, float] = {}
        """By the name of the set and the phenomenon, as ``pair_accuracy@blimp:island_effects``."""

    @torch.no_grad()
    def on_train_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        learner.eval()
        for name, pairs in self.task.sentence_pairs().items():
            with trainer.precision_plugin.forward_context():  # as in validation
                good, bad = (self.log_probabilities(learner, side) for side in (pairs.good, pairs.bad))
            for part, accuracy in pair_accuracies(good, bad, pairs.phenomena).items():
                self.scores[f"{PAIR_ACCURACY}@{name}{part}"] = accuracy

    def log_probabilities(self, learner: lightning.LightningModule, sentences: Examples) -> Tensor:
        """Of all sentences, (N,)."""
        found = []
        for batch in ValidationBatches(sentences, self.task.batch_size):
            on_device = {name: tensor.to(learner.device) for name, tensor in batch.items()}
            logits, targets = learner(on_device), on_device["targets"]
            if logits.device.type == "mps":  # which has no double precision
                logits, targets = logits.cpu(), targets.cpu()
            found.append(log_probabilities(logits, targets).cpu())
        return torch.cat(found)


class LastLosses(lightning.Callback):
    """The losses of the single targets in the last validation, summed by position in the sequence and by example.

    By position: how the loss falls along the sequence, as more context comes before a token, and where longer sequences
    lose it; set by set, of causal language models. By example: of the usual set, if it has at most ``MOST_EXAMPLES``,
    of every task whose loss is the cross-entropy. Tasks with other losses have neither, and those that ask for a few
    tokens alone no curve. ``from_step``: the first step after which a validation may be the last one.
    """

    def __init__(self, task: Task, sets: Mapping[str, ValidationBatches], from_step: int):
        self.has_examples = has_cross_entropy(task) and count_examples(sets[""].examples) <= MOST_EXAMPLES
        self.has_positions = has_cross_entropy(task) and task.kind == "causal_lm" and task.primary == "loss"
        self.suffixes, self.from_step = list(sets), from_step
        self.totals: dict[int, tuple[Tensor, Tensor]] = {}
        """By the index of the validation set, sum and number of the losses at each position, both (L,)."""
        self.examples: list[tuple[Tensor, Tensor]] = []
        """Batch by batch the sum of the losses of each example and its number of targets, both (B,)."""

    def on_validation_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.totals, self.examples = {}, []

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        learner: lightning.LightningModule,
        outputs: Any,
        batch: Examples,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        has_examples = self.has_examples and dataloader_idx == 0
        if trainer.global_step < self.from_step or not (has_examples or self.has_positions):
            return
        targets = batch["targets"]
        logits = outputs.float().reshape(*targets.shape, -1).movedim(-1, 1)
        losses = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none").cpu().double()
        valid = (targets != IGNORED).cpu()
        if has_examples:
            self.examples.append((losses.reshape(len(losses), -1).sum(1), valid.reshape(len(losses), -1).sum(1)))
        if self.has_positions:
            total, count = losses.sum(0), valid.sum(0)
            before = self.totals.get(dataloader_idx)
            self.totals[dataloader_idx] = (total, count) if before is None else (before[0] + total, before[1] + count)

    def by_example(self) -> Tensor | None:
        """Sum of the losses in nats and number of targets of each validation example, in single precision: (2, N).

        None where they were not collected, and where a sum is not finite.
        """
        if not self.examples:
            return None
        examples = torch.stack([torch.cat(parts).float() for parts in zip(*self.examples, strict=True)])
        return examples if bool(examples.isfinite().all()) else None

    def by_position(self) -> dict[str, dict[str, list[float]]]:
        """By suffix of the set: the middle ``position`` of each part of the sequence, from 1, and its mean ``loss``."""
        curves = {}
        for index, (total, count) in self.totals.items():
            n_parts = min(N_PARTS, len(total))
            sums, counts = (torch.stack([part.sum() for part in x.tensor_split(n_parts)]) for x in (total, count))
            middles = [float(part.double().mean()) + 1 for part in torch.arange(len(total)).tensor_split(n_parts)]
            valid = [part for part in range(n_parts) if counts[part] and bool(sums[part].isfinite())]
            curves[self.suffixes[index]] = {
                "position": [middles[part] for part in valid],
                "loss": [float(sums[part] / counts[part]) for part in valid],
            }
        return curves
