"""Metrics on a validation set. All are updated with logits (B, L, V) and targets (B, L), or (B, V) and (B,).

Logits are computed with the correct tokens as input (teacher forcing); only ``edit_distance`` is about generated
sequences. Importing torchmetrics takes a second, so tasks import this module in their ``metrics`` method.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score
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
    """The cross-entropy in bits per token: per character or per byte where that is what a token is."""

    def compute(self) -> Tensor:
        return super().compute() / math.log(2)


class BitsPerCharacter(CrossEntropy):
    """Bits per character where a token has several characters: loss / ln 2 * tokens / characters.

    ``tokens_per_character`` is the ratio over the whole validation text. The spelling of unknown words is not counted,
    so only vocabularies that can represent every text (bpe) are comparable with characters.
    """

    def __init__(self, tokens_per_character: float):
        super().__init__()
        self.tokens_per_character = tokens_per_character

    def compute(self) -> Tensor:
        return super().compute() / math.log(2) * self.tokens_per_character


class Perplexity(CrossEntropy):
    """exp(loss). Unlike that of torchmetrics, it computes the softmax in single precision."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class TokenAccuracy(MulticlassAccuracy):
    """Fraction of the targets that have the highest logit, or one of the ``top_k`` highest."""

    def __init__(self, vocabulary: int, top_k: int = 1):
        super().__init__(vocabulary, top_k=top_k, average="micro", ignore_index=IGNORED, validate_args=False)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        super().update(logits.flatten(0, -2), targets.flatten())


class TokenCalibrationError(MulticlassCalibrationError):
    """The expected calibration error over ``bins`` of confidence (Guo et al. 2017, arXiv:1706.04599)."""

    def __init__(self, vocabulary: int, bins: int):
        super().__init__(vocabulary, n_bins=bins, norm="l1", ignore_index=IGNORED, validate_args=False)

    def update(self, logits: Tensor, targets: Tensor) -> None:
        super().update(logits.flatten(0, -2).float().softmax(-1), targets.flatten())


class MacroF1(MulticlassF1Score):
    """Unweighted mean of the F1 of each class; a class that is neither a target nor predicted does not count."""

    def __init__(self, n_classes: int):
        super().__init__(n_classes, average="macro", validate_args=False)


class ExactMatch(Metric):
    """Fraction of the sequences (B, L) in which every target has the highest logit.

    Greedy decoding generates a sequence correctly exactly when each token has the highest logit after the correct ones,
    so this is also the accuracy of greedy decoding, end tokens included.
    """

    higher_is_better = True
    full_state_update = False
    correct: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correct", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        correct = (logits.argmax(-1) == targets) | (targets == IGNORED)
        self.correct += correct.all(-1).sum()
        self.count += len(targets)

    def compute(self) -> Tensor:
        return self.correct / self.count


class ExactMatchOfLength(ExactMatch):
    """Exact match when the length of the target is given: the fraction of sequences (B, L) correct up to their end.

    The logit of ``end`` is ignored at all positions, and ``end`` itself need not be predicted. This is the accuracy of
    greedy decoding that cannot stop by itself and is stopped after as many tokens as the target has (the oracle of Lake
    and Baroni 2018, arXiv:1711.00350; Newman et al. 2020, arXiv:2010.07174). Its difference to the plain exact match is
    the fraction of sequences in which only the end is wrong.
    """

    def __init__(self, end: int):
        super().__init__()
        self.end = end

    def update(self, logits: Tensor, targets: Tensor) -> None:
        without_end = logits.index_fill(-1, torch.tensor(self.end, device=logits.device), -math.inf)
        super().update(without_end, targets.masked_fill(targets == self.end, IGNORED))


def edit_distance(outputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> float:
    """Tokens to insert, delete or replace to turn the outputs into the targets, per token of the targets.

    Both are token ids without end tokens. 0 is perfect, 1 is as bad as empty outputs, more is possible. The edits of
    all sequences are summed and divided by the tokens of all targets, as in a word error rate.
    """
    # torchmetrics takes strings: a character per token
    one, other = (["".join(map(chr, ids)) for ids in sequences] for sequences in (outputs, targets))
    return float(count_edits(one, other, reduction="sum")) / max(1, sum(map(len, targets)))


def language_metrics(vocabulary: int, bits: str, tokens_per_character: float = 1.0) -> dict[str, Metric]:
    """The metrics of a language model; ``bits`` is the name of its bits per token, or per character."""
    return {
        "loss": CrossEntropy(),
        "perplexity": Perplexity(),
        bits: BitsPerToken() if tokens_per_character == 1.0 else BitsPerCharacter(tokens_per_character),
        "accuracy": TokenAccuracy(vocabulary),
    }


def answer_metrics(vocabulary: int) -> dict[str, Metric]:
    """The metrics of sequences with one correct answer, of a token or several."""
    return {"loss": CrossEntropy(), "accuracy": TokenAccuracy(vocabulary), "exact_match": ExactMatch()}


def pair_metrics(vocabulary: int, end: int) -> dict[str, Metric]:
    """The metrics of sequence-to-sequence tasks; ``end`` is the token after the last one of a target."""
    return {**answer_metrics(vocabulary), "exact_match_oracle_length": ExactMatchOfLength(end)}


def class_metrics(n_classes: int) -> dict[str, Metric]:
    """The metrics of classification."""
    return {"loss": CrossEntropy(), "accuracy": TokenAccuracy(n_classes), "macro_f1": MacroF1(n_classes)}


def masked_metrics(vocabulary: int) -> dict[str, Metric]:
    """The metrics of masked language modeling, over the tokens that have to be predicted."""
    return {
        "loss": CrossEntropy(),
        "perplexity": Perplexity(),
        "accuracy": TokenAccuracy(vocabulary),
    }
