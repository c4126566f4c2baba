"""Masked language modeling of a text file: filling in masked tokens.

Shapes: N windows, L tokens of a window.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...registry import register
from ...rng import generator
from ..base import IGNORED, Examples, Fraction
from .base import TextTask

if TYPE_CHECKING:
    from torchmetrics import Metric


@register("task", "masked_text", source="Devlin et al. 2018, arXiv:1810.04805")
class MaskedText(TextTask):
    """Masked language modeling of a text file, which is split and cut into windows as by ``text``.

    In each window a random fraction ``masked`` of the tokens has to be predicted: 80 % of these are replaced by the
    mask token, 10 % by a random token, 10 % are left as they are. Masks change with each epoch; those for validation
    are fixed. ``tokenizer`` is as in ``text`` and must have a mask token.
    """

    kind = "masked_lm"

    def __init__(self, *, masked: Fraction = 0.15, **options: Any):
        super().__init__(**options)
        self.masked_fraction = masked

    @property
    def vocabulary(self) -> int:
        """The size of the vocabulary with the mask token, which is the last id unless the tokenizer.json has one."""
        return super().vocabulary + (self.tokenizer is None)

    def measured_on(self) -> dict[str, Any]:
        return {**super().measured_on(), "masked": self.masked_fraction}

    def training(self, seed: int, epoch: int) -> Examples:
        return self.mask(self.training_windows(seed, epoch)["tokens"], generator(seed, "masks", epoch))

    def validation_set(self, multiple: int) -> Examples:
        return self.mask(super().validation_set(multiple)["tokens"], generator(0, "masks", f"validation {multiple}x"))

    def mask(self, tokens: Tensor, random: torch.Generator) -> Examples:
        """Windows (N, L) with masked tokens as inputs, and the original ones as targets; at least one per window."""
        n_masked = max(1, round(self.masked_fraction * tokens.size(1)))
        chosen = torch.rand(tokens.shape, generator=random).topk(n_masked, 1).indices
        originals, u = tokens.gather(1, chosen), torch.rand(chosen.shape, generator=random)
        mask = self.vocabulary - 1 if self.tokenizer is None else self.text_tokenizer.mask
        n_tokens = super().vocabulary
        inputs = torch.where(u < 0.8, mask, torch.randint(n_tokens, chosen.shape, generator=random))
        inputs = torch.where(u < 0.9, inputs, originals)
        targets = torch.full_like(tokens, IGNORED).scatter(1, chosen, originals)
        return {"tokens": tokens.scatter(1, chosen, inputs), "targets": targets}

    def metrics(self) -> "dict[str, Metric]":
        from ..metrics import masked_metrics

        return masked_metrics(self.vocabulary)
