"""The loss: what training minimizes of a batch, and the cross-entropy in it.

Shapes: N tokens or texts that are asked for something, V classes.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .base import IGNORED


class Terms(Protocol):
    """What the configuration of the training adds to the cross-entropy."""

    @property
    def label_smoothing(self) -> float: ...
    @property
    def z_loss(self) -> float: ...


def training_loss(logits: Tensor, targets: Tensor, losses: Sequence[Tensor], terms: Terms) -> tuple[Tensor, Tensor]:
    """What is minimized, with the ``losses`` that sublayers add, and the cross-entropy alone, in nats.

    Logits (..., V) and targets (...); those that are ``IGNORED`` do not count.
    """
    logits, targets = logits.flatten(0, -2), targets.flatten()
    cross = loss = cross_entropy(logits, targets, ignore_index=IGNORED)
    if terms.label_smoothing or terms.z_loss:
        asked = targets != IGNORED
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_z = logits.logsumexp(-1)
    if terms.label_smoothing:
        smooth = _mean(log_z - logits.mean(-1), asked)
        loss = (1 - terms.label_smoothing) * cross + terms.label_smoothing * smooth
    if terms.z_loss:
        losses = [*losses, terms.z_loss * _mean(log_z.square(), asked)]
    return loss + torch.stack(list(losses)).sum() if losses else loss, cross.detach()


def _mean(values: Tensor, asked: Tensor) -> Tensor:
    """Of those that are asked for; without choosing them, for whose number an accelerator would be waited."""
    return values.where(asked, 0.0).sum() / asked.sum()
