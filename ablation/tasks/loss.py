"""The loss that training minimizes: that of the task, and what the configuration and the sublayers add to it.

Shapes: V is the vocabulary or the number of classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InputError
from .base import IGNORED, Examples, Task


def training_loss(
    task: Task,
    logits: Tensor,
    batch: Examples,
    auxiliary_losses: Sequence[Tensor] = (),
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """What is minimized, and the task's own loss in it, detached; two scalars.

    ``auxiliary_losses`` are those that sublayers add, such as the load balancing of experts. Label smoothing and the
    z-loss are terms of a cross-entropy, with ``logits`` (..., V) and targets (...). Errors: InputError where they are
    asked of a task with another loss.

    ``weight`` is that of the batch among those of its step, 1 on average: it multiplies all means over targets, so that
    the mean over the step's batches is that over all its targets. Auxiliary losses are statistics of one batch, not
    means over targets: each batch's counts the same, and several small batches balance experts less evenly than one
    large one, as in every implementation that computes the balance in the batch (Qiu et al. 2025, arXiv:2501.11873).
    """
    check_terms(task, label_smoothing, z_loss)
    losses = list(auxiliary_losses)
    if weight == 0:  # a batch without targets in a step that has some: the mean over none is not a number
        nothing = 0.0 * logits.sum()
        return torch.stack([nothing, *losses]).sum(), nothing.detach()
    task_loss = loss = task.loss(logits, batch)
    if label_smoothing or z_loss:
        logits, targets = logits.flatten(0, -2), batch["targets"].flatten()
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_z = logits.logsumexp(-1)
    if label_smoothing:
        smooth = _mean(log_z - logits.mean(-1), targets != IGNORED)
        loss = (1 - label_smoothing) * task_loss + label_smoothing * smooth
    if z_loss:
        losses.append(weight * z_loss * _mean(log_z.square(), targets != IGNORED))
    loss, task_loss = weight * loss, weight * task_loss
    return loss + torch.stack(losses).sum() if losses else loss, task_loss.detach()


def has_cross_entropy(task: Task) -> bool:
    """Whether the task is learned by cross-entropy, so that its logits are scores of tokens or classes."""
    return type(task).loss is Task.loss


def check_terms(task: Task, label_smoothing: float, z_loss: float) -> None:
    """Errors: InputError for a term of the cross-entropy where the task has another loss."""
    if (label_smoothing or z_loss) and not has_cross_entropy(task):
        name = "label_smoothing" if label_smoothing else "z_loss"
        raise InputError(f"training.{name}: needs a cross-entropy, and task {type(task).__name__} has its own loss")


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of those under the mask; indexing by it would make the CPU wait for an accelerator."""
    return values.where(mask, 0.0).sum() / mask.sum()
