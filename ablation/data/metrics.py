"""What is measured on the validation set. All are updated with (logits (B, L, V), targets (B, L)).

Importing torchmetrics takes a second, so tasks import this module where they name their metrics.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from .task import IGNORED


class CrossEntropy(Metric):
    """Mean negative log probability of the targets, in nats per token."""

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        flat = logits.flatten(0, -2).float()
        self.total += cross_entropy(flat, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        self.count += (targets != IGNORED).sum()

    def compute(self) -> Tensor:
        return self.total / self.count


class BitsPerToken(CrossEntropy):
    """The same in bits: bits per character where tokens are characters, bits per byte where they are bytes."""

    def compute(self) -> Tensor:
        return super().compute() / math.log(2)


class Perplexity(CrossEntropy):
    """e to the loss. torchmetrics has its own, which takes a softmax in the precision of the logits."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class TokenAccuracy(MulticlassAccuracy):
    """Share of the targets that got the highest score."""

    def __init__(self, vocabulary: int):
        super().__init__(vocabulary, average="micro", ignore_index=IGNORED, validate_args=False)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        super().update(logits.flatten(0, -2), targets.flatten())


class ExactMatch(Metric):
    """Share of the texts of which every target got the highest score."""

    higher_is_better = True
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        hit = (logits.argmax(-1) == targets) | (targets == IGNORED)
        self.right += hit.all(-1).sum()
        self.count += len(targets)

    def compute(self) -> Tensor:
        return self.right / self.count


def language_metrics(vocabulary: int, bits: str) -> dict[str, Metric]:
    """Those of a language model; ``bits`` names its bits per token."""
    return {
        "loss": CrossEntropy(),
        "perplexity": Perplexity(),
        bits: BitsPerToken(),
        "accuracy": TokenAccuracy(vocabulary),
    }
