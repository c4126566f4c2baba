"""Batches: their order is a function of (seed, epoch), never a state."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data.task import Examples, Task, count_examples
from ..randomness import generator

Ticket = tuple[int, Tensor]
"""An epoch, and the examples of one batch (B,)."""


class TrainingExamples(Dataset[Examples]):
    """Whole batches by ticket; holds the examples of one epoch at a time."""

    def __init__(self, task: Task, seed: int):
        self.task, self.seed = task, seed
        self.epoch, self.examples = -1, Examples()

    def of(self, epoch: int) -> Examples:
        if epoch != self.epoch:
            self.epoch, self.examples = epoch, self.task.training(self.seed, epoch)
        return self.examples

    def __getitem__(self, ticket: Ticket) -> Examples:
        epoch, chosen = ticket
        return {name: tensor[chosen] for name, tensor in self.of(epoch).items()}


class Shuffle(Sampler[Ticket]):
    """All examples of an epoch in an order drawn from (seed, epoch); what does not fill a batch is left out.

    Lightning calls ``set_epoch`` before each epoch.
    """

    def __init__(self, examples: TrainingExamples, batch_size: int):
        self.examples, self.batch_size, self.epoch = examples, batch_size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, count_examples(self.examples.of(self.epoch)) // self.batch_size)

    def __iter__(self) -> Iterator[Ticket]:
        n_examples = count_examples(self.examples.of(self.epoch))
        order = torch.randperm(n_examples, generator=generator(self.examples.seed, "order", self.epoch))
        for batch in range(len(self)):
            yield self.epoch, order[batch * self.batch_size : (batch + 1) * self.batch_size]


class ValidationBatches(Dataset[Examples]):
    """A validation set cut into batches, the last one shorter."""

    def __init__(self, examples: Examples, batch_size: int):
        self.examples, self.batch_size = examples, batch_size

    def __len__(self) -> int:
        return -(-count_examples(self.examples) // self.batch_size)

    def __getitem__(self, index: int) -> Examples:
        if index >= len(self):
            raise IndexError(index)
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return {name: tensor[chosen] for name, tensor in self.examples.items()}


def training_loader(task: Task, seed: int) -> DataLoader[Examples]:
    """Batches of an epoch, in the order that (seed, epoch) draws."""
    examples = TrainingExamples(task, seed)
    return DataLoader(examples, sampler=Shuffle(examples, task.batch_size), batch_size=None)


def validation_loader(task: Task) -> DataLoader[Examples]:
    """Batches of the validation set, in its own order."""
    return DataLoader(ValidationBatches(task.validation(), task.batch_size), batch_size=None)


def validation_loaders(task: Task) -> dict[str, DataLoader[Examples]]:
    """Those of all validation sets by what their metrics' names end in: ``""`` the usual set, first, then ``@2x``."""
    further = {
        f"@{name}": DataLoader(ValidationBatches(examples, task.batch_size), batch_size=None)
        for name, examples in task.further_validation().items()
    }
    return {"": validation_loader(task), **further}
