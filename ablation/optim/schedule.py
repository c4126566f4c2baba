"""Schedule: the learning rate over the steps, as a fraction of the optimizer's ``lr``.

All rise linearly during the warm-up, from 1 / (number of warm-up steps) at the first step; without a warm-up they start
at the full learning rate.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from ..registry import register

Fraction = Annotated[float, Field(ge=0, le=1)]


class Schedule:
    """Base of the schedules. A subclass defines the factor after the warm-up.

    The warm-up takes ``warmup_ratio`` of the steps, or ``warmup_steps`` steps if that is set.
    """

    def __init__(
        self, *, warmup_ratio: Fraction = 0.1, warmup_steps: Annotated[int, Field(ge=0)] | None = None
    ) -> None:
        self.warmup_ratio, self.warmup_steps = warmup_ratio, warmup_steps

    def n_warmup(self, n_steps: int) -> int:
        """Number of warm-up steps in a run of ``n_steps`` steps."""
        return round(self.warmup_ratio * n_steps) if self.warmup_steps is None else min(self.warmup_steps, n_steps)

    def factor(self, step: int, n_steps: int) -> float:
        """The factor of the learning rate at step ``step``, from 0 to ``n_steps`` - 1."""
        n_warmup = self.n_warmup(n_steps)
        if step < n_warmup:
            return (step + 1) / n_warmup
        return self.after(step - n_warmup, max(1, n_steps - n_warmup), max(1, n_warmup))

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        """The factor at step ``step`` of the ``n_steps`` that follow a warm-up of ``n_warmup`` steps."""
        raise NotImplementedError

    def shared_steps(self, n_steps: int) -> int:
        """How many of the first steps have the same factors in every longer run, which can go on from there.

        Those after the warm-up as ``shared_after`` says; none where the length of the warm-up depends on ``n_steps``.
        """
        n_warmup = self.n_warmup(n_steps)
        depends = self.warmup_ratio > 0 if self.warmup_steps is None else self.warmup_steps > n_steps
        shared = 0 if depends else self.shared_after(n_steps - n_warmup)
        return n_warmup + shared if shared else 0

    def shared_after(self, n_steps: int) -> int:
        """How many of the ``n_steps`` after the warm-up have the same factors in every longer run."""
        return 0


@register("schedule", "constant", source="warm-up: Goyal et al. 2017, arXiv:1706.02677")
class Constant(Schedule):
    """The full learning rate until the end."""

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return 1.0

    def shared_after(self, n_steps: int) -> int:
        return n_steps


@register("schedule", "cosine", source="Loshchilov and Hutter 2016, arXiv:1608.03983")
class Cosine(Schedule):
    """Half a cosine, down to ``min_lr_ratio`` of the learning rate."""

    def __init__(self, *, min_lr_ratio: Fraction = 0.1, **warmup: Any):
        super().__init__(**warmup)
        self.min_lr_ratio = min_lr_ratio

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * (1 + math.cos(math.pi * step / n_steps)) / 2


@register("schedule", "linear", source="Devlin et al. 2018, arXiv:1810.04805")
class Linear(Schedule):
    """Linear decay down to ``min_lr_ratio`` of the learning rate."""

    def __init__(self, *, min_lr_ratio: Fraction = 0.0, **warmup: Any):
        super().__init__(**warmup)
        self.min_lr_ratio = min_lr_ratio

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return 1 - (1 - self.min_lr_ratio) * step / n_steps


@register("schedule", "inverse_sqrt", source="Vaswani et al. 2017, arXiv:1706.03762")
class InverseSqrt(Schedule):
    """Proportional to 1 / sqrt(step) after the warm-up, starting at the full learning rate."""

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return math.sqrt(n_warmup / (n_warmup + step))

    def shared_after(self, n_steps: int) -> int:
        return n_steps


@register("schedule", "step", source="He et al. 2015, arXiv:1512.03385")
class Step(Schedule):
    """Multiplied by ``gamma`` after every further fraction ``every`` of the steps after warm-up."""

    def __init__(
        self,
        *,
        every: Annotated[float, Field(gt=0, le=1)] = 0.3,
        gamma: Annotated[float, Field(gt=0, le=1)] = 0.1,
        **warmup: Any,
    ):
        super().__init__(**warmup)
        self.every, self.gamma = every, gamma

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return self.gamma ** (step // max(1, round(self.every * n_steps)))

    def shared_after(self, n_steps: int) -> int:
        return min(n_steps, max(1, round(self.every * n_steps)))


@register("schedule", "wsd", source="Hu et al. 2024, arXiv:2404.06395; 1 - sqrt: Haegele et al. 2024, arXiv:2405.18392")
class WarmupStableDecay(Schedule):
    """Constant, then decay to ``min_lr_ratio`` over the last ``decay_ratio`` of the steps after warm-up."""

    def __init__(
        self,
        *,
        decay_ratio: Fraction = 0.2,
        min_lr_ratio: Fraction = 0.0,
        decay_shape: Literal["linear", "cosine", "one_minus_sqrt"] = "linear",
        **warmup: Any,
    ):
        super().__init__(**warmup)
        self.decay_ratio, self.min_lr_ratio, self.decay_shape = decay_ratio, min_lr_ratio, decay_shape

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        n_decay = round(self.decay_ratio * n_steps)
        n_stable = n_steps - n_decay
        if step < n_stable or not n_decay:
            return 1.0
        done = min(1.0, (step - n_stable) / n_decay)
        left = {
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "one_minus_sqrt": 1 - math.sqrt(done),
        }[self.decay_shape]
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * left

    def shared_after(self, n_steps: int) -> int:
        return n_steps - round(self.decay_ratio * n_steps)
