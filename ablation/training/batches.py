"""Batches of training and validation examples; the order of training is a function of (seed, epoch), never a state."""

from collections.abc import Iterator, Mapping
from itertools import count, islice
from typing import NamedTuple

import torch

from ..rng import generator
from ..tasks.base import Examples, Task, count_examples, count_tokens


class TrainingBatch(NamedTuple):
    """A batch, and what it counts for among the batches of its optimizer step."""

    examples: Examples
    weight: float = 1.0
    """Its number of targets over the mean among the batches of its step, or among the shares of all ranks in them."""
    n_tokens: int = 0
    """Of the whole batch, also where ``examples`` are the share of one rank."""


class Position(NamedTuple):
    """A place in the order of training: optimizer steps, and the batches of the epoch there that are behind it."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


class TrainingBatches:
    """The batches of ``n_steps`` optimizer steps, ``accumulate`` for each, epoch after epoch.

    Each epoch goes through all examples in an order of its own. Examples that do not fill a step at its end are left
    out, so that a step is the same examples however it is cut into batches. An epoch with too few for a step is as many
    batches as it fills, and the step goes on in the next one; with too few for a batch, it is one smaller batch.
    """

    def __init__(self, task: Task, seed: int, n_steps: int, accumulate: int = 1, rank: int = 0, n_ranks: int = 1):
        self.task, self.seed, self.n_steps, self.accumulate = task, seed, n_steps, accumulate
        self.rank, self.n_ranks = rank, n_ranks
        self.start = self.reached = Position()
        """Where the batches begin, and where those of the last step end, known once the first of these is given out."""

    def __len__(self) -> int:
        return self.n_steps * self.accumulate

    def __iter__(self) -> Iterator[TrainingBatch]:
        batches = self.batches(self.start)
        for number in range(self.start.step + 1, self.n_steps + 1):
            step, ends = zip(*islice(batches, self.accumulate), strict=True)
            self.reached = Position(number, *ends[-1])
            counts = [self.task.count_targets(batch) for batch in step]
            total, n_shares = sum(counts), self.accumulate * self.n_ranks
            for batch, n_targets in zip(step, counts, strict=True):
                share = batch
                if self.n_ranks > 1:
                    share = share_of(batch, self.rank, self.n_ranks)
                    n_targets = self.task.count_targets(share)
                yield TrainingBatch(share, n_targets * n_shares / total if total else 1.0, count_tokens(batch))

    def state_dict(self) -> dict[str, int]:
        """The position after the last step. It is asked for between two steps, never among the batches of one."""
        return self.reached._asdict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Begin after that position; earlier batches and epochs are not made."""
        self.start = self.reached = Position(**state)

    def batches(self, position: Position) -> Iterator[tuple[Examples, tuple[int, int]]]:
        """The batches after a position without end, and where each ends: its epoch, and its number in it from 1."""
        first = position.batch
        for epoch in count(position.epoch):
            for number, batch in enumerate(self.epoch(epoch, first), first + 1):
                yield batch, (epoch, number)
            first = 0

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Examples]:
        """The batches of one epoch, from the ``first`` on. Errors: ValueError when it has no examples."""
        examples = self.task.training(self.seed, epoch)
        n_examples, size = count_examples(examples), self.task.batch_size
        if not n_examples:
            raise ValueError(f"epoch {epoch} has no examples")
        order = torch.randperm(n_examples, generator=generator(self.seed, "order", epoch))
        n_batches = n_examples // size
        if n_batches > self.accumulate:
            n_batches -= n_batches % self.accumulate
        for batch in range(first, max(1, n_batches)):
            chosen = order[batch * size : (batch + 1) * size]
            yield {name: tensor[chosen] for name, tensor in examples.items()}


def share_of(batch: Examples, rank: int, n_ranks: int) -> Examples:
    """The examples of a batch on which one rank trains. Errors: ValueError where there is not one for each."""
    n_examples = count_examples(batch)
    if n_examples < n_ranks:
        raise ValueError(f"training.ranks {n_ranks}: a batch of {n_examples} has not one example for each")
    return {name: tensor.tensor_split(n_ranks)[rank] for name, tensor in batch.items()}


class ValidationBatches:
    """A validation set cut into batches, in its own order; the last batch may be smaller."""

    def __init__(self, examples: Examples, batch_size: int):
        self.examples, self.batch_size = examples, batch_size

    def __len__(self) -> int:
        return -(-count_examples(self.examples) // self.batch_size)

    def __iter__(self) -> Iterator[Examples]:
        for start in range(0, count_examples(self.examples), self.batch_size):
            yield {name: tensor[start : start + self.batch_size] for name, tensor in self.examples.items()}


def validation_sets(task: Task) -> dict[str, ValidationBatches]:
    """All validation sets by the suffix of their metrics' names: ``""`` for the usual set, first, then ``@2x``."""
    return {"": ValidationBatches(task.validation(), task.batch_size)} | _named(task, task.further_validation())


def final_sets(task: Task) -> dict[str, ValidationBatches]:
    """The same of the sets that are scored once, after the last step."""
    return _named(task, task.final_sets())


def _named(task: Task, sets: Mapping[str, Examples]) -> dict[str, ValidationBatches]:
    return {f"@{name}": ValidationBatches(examples, task.batch_size) for name, examples in sets.items()}
