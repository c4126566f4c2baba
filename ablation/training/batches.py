"""Batches of training and validation examples; the order of training is a function of (seed, epoch), never a state."""

from collections.abc import Iterator
from itertools import chain, count, islice

import torch

from ..rng import generator
from ..tasks.base import Examples, Task, count_examples


class TrainingBatches:
    """``n_batches`` batches, epoch after epoch; each epoch goes through all examples in an order of its own.

    Examples that do not fill a batch at the end of an epoch are left out; an epoch with too few for a batch is one
    smaller batch.
    """

    def __init__(self, task: Task, seed: int, n_batches: int):
        self.task, self.seed, self.n_batches = task, seed, n_batches

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Examples]:
        return islice(chain.from_iterable(map(self.epoch, count())), self.n_batches)

    def epoch(self, epoch: int) -> Iterator[Examples]:
        """The batches of one epoch. Errors: ValueError when it has no examples."""
        examples = self.task.training(self.seed, epoch)
        n_examples, size = count_examples(examples), self.task.batch_size
        if not n_examples:
            raise ValueError(f"epoch {epoch} has no examples")
        order = torch.randperm(n_examples, generator=generator(self.seed, "order", epoch))
        for batch in range(max(1, n_examples // size)):
            chosen = order[batch * size : (batch + 1) * size]
            yield {name: tensor[chosen] for name, tensor in examples.items()}


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
    sets = {"": task.validation()}
    sets |= {f"@{name}": examples for name, examples in task.further_validation().items()}
    return {suffix: ValidationBatches(examples, task.batch_size) for suffix, examples in sets.items()}
