"""What is measured on a validation set. All are updated with logits (B, L, V) and targets (B, L), or (B, V) and (B,).

The logits of each place are those after the right tokens before it; only ``edit_distance`` is of what a model writes by
itself. Importing torchmetrics takes a second, so tasks import this module where they name their metrics.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.text import edit_distance as count_edits

from .base import IGNORED


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


class BitsPerCharacter(CrossEntropy):
    """Bits per character where a token stands for several: loss / ln 2 * tokens / characters.

    ``tokens_per_character`` is that ratio over the whole validation part of the text. What ``<unk>`` stands for costs
    nothing to spell, so that only vocabularies that can write everything (bpe) compare with characters.
    """

    def __init__(self, tokens_per_character: float):
        super().__init__()
        self.tokens_per_character = tokens_per_character

    def compute(self) -> Tensor:
        return super().compute() / math.log(2) * self.tokens_per_character


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


class MacroF1(MulticlassF1Score):
    """The mean over the classes of each one's F1, however rare; a class neither asked nor told does not count."""

    def __init__(self, n_classes: int):
        super().__init__(n_classes, average="macro", validate_args=False)


class ExactMatch(Metric):
    """Share of the texts (B, L) of which every target got the highest score.

    A text that is written greedily comes out right exactly when each of its tokens does after the right ones, so this
    is also the share that greedy decoding gets right, ends included.
    """

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


class ExactMatchOfLength(ExactMatch):
    """The same where the length of each target is given: share of the texts (B, L) right up to their end.

    At each place before the target's ``end`` the highest score of all tokens but the end counts, and at the end none
    does. This is the share that greedy decoding gets right if it cannot end by itself and is stopped after as many
    tokens as the target has (the oracle of Lake and Baroni 2018, arXiv:1711.00350; Newman et al. 2020,
    arXiv:2010.07174). Against the plain exact match it tells whether only the end was missed.
    """

    def __init__(self, end: int):
        super().__init__()
        self.end = end

    def update(self, logits: Tensor, targets: Tensor) -> None:
        endless = logits.index_fill(-1, torch.tensor(self.end, device=logits.device), -math.inf)
        super().update(endless, targets.masked_fill(targets == self.end, IGNORED))


def edit_distance(written: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> float:
    """Tokens to put in, leave out or replace until what was written is right, per token of the targets.

    Both are token ids without ends. 0 is all right, 1 is as bad as writing nothing; more is possible. The edits of all
    texts are summed and divided by the tokens of all targets, as in a word error rate.
    """
    ours, theirs = (["".join(map(chr, ids)) for ids in texts] for texts in (written, targets))  # it takes text
    return float(count_edits(ours, theirs, reduction="sum")) / max(1, sum(map(len, targets)))


def language_metrics(vocabulary: int, bits: str, tokens_per_character: float = 1.0) -> dict[str, Metric]:
    """Those of a language model; ``bits`` names its bits per token, or per character where a token is several."""
    return {
        "loss": CrossEntropy(),
        "perplexity": Perplexity(),
        bits: BitsPerToken() if tokens_per_character == 1.0 else BitsPerCharacter(tokens_per_character),
        "accuracy": TokenAccuracy(vocabulary),
    }


def answer_metrics(vocabulary: int) -> dict[str, Metric]:
    """Those of texts that have one right answer, a token or several."""
    return {"loss": CrossEntropy(), "accuracy": TokenAccuracy(vocabulary), "exact_match": ExactMatch()}


def pair_metrics(vocabulary: int, end: int) -> dict[str, Metric]:
    """Those of texts that are made from others; ``end`` is the token behind the last."""
    return {**answer_metrics(vocabulary), "exact_match_oracle_length": ExactMatchOfLength(end)}


def class_metrics(n_classes: int) -> dict[str, Metric]:
    """Those of classification."""
    return {"loss": CrossEntropy(), "accuracy": TokenAccuracy(n_classes), "macro_f1": MacroF1(n_classes)}


def gap_metrics(vocabulary: int) -> dict[str, Metric]:
    """Those of masked language modeling, over the chosen tokens alone."""
    return {
        "loss": CrossEntropy(),
        "perplexity": Perplexity(),
        "accuracy": TokenAccuracy(vocabulary),
    }
