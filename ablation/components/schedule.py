"""Schedule: the learning rate over the steps, as a share of the optimiser's ``lr``.

All rise linearly from 0 over the first ``warmup`` share of the steps; 0 starts at full speed. The first step is taken
at 1 / (number of warm-up steps), never at 0.
"""

import math
from typing import Annotated, Literal

from pydantic import Field

from ..registry import register

Share = Annotated[float, Field(ge=0, le=1)]


class Schedule:
    """Base of the schedules. A member says what comes after the warm-up."""

    def __init__(self, warmup: float):
        self.warmup = warmup

    def factor(self, step: int, n_steps: int) -> float:
        """What the learning rate of step ``step``, from 0 to ``n_steps`` - 1, is multiplied by."""
        n_warmup = round(self.warmup * n_steps)
        if step < n_warmup:
            return (step + 1) / n_warmup
        return self.after(step - n_warmup, max(1, n_steps - n_warmup), max(1, n_warmup))

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        """The same for step ``step`` of the ``n_steps`` after the warm-up of ``n_warmup`` steps."""
        raise NotImplementedError


@register("schedule", "constant", source="warm-up: Goyal et al. 2017, arXiv:1706.02677")
class Constant(Schedule):
    """Full speed to the end."""

    def __init__(self, *, warmup: Share = 0.1):
        super().__init__(warmup)

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return 1.0


@register("schedule", "cosine", source="Loshchilov and Hutter 2016, arXiv:1608.03983")
class Cosine(Schedule):
    """Half a cosine down to the share ``final``."""

    def __init__(self, *, warmup: Share = 0.1, final: Share = 0.1):
        super().__init__(warmup)
        self.final = final

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * step / n_steps)) / 2


@register("schedule", "linear", source="Devlin et al. 2018, arXiv:1810.04805")
class Linear(Schedule):
    """A straight line down to the share ``final``."""

    def __init__(self, *, warmup: Share = 0.1, final: Share = 0.0):
        super().__init__(warmup)
        self.final = final

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return 1 - (1 - self.final) * step / n_steps


@register("schedule", "inverse_sqrt", source="Vaswani et al. 2017, arXiv:1706.03762")
class InverseSqrt(Schedule):
    """Falls with the square root of the steps, from full speed at the end of the warm-up."""

    def __init__(self, *, warmup: Share = 0.1):
        super().__init__(warmup)

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return math.sqrt(n_warmup / (n_warmup + step))


@register("schedule", "step", source="He et al. 2015, arXiv:1512.03385")
class Step(Schedule):
    """Times ``gamma`` again and again, every ``every`` share of the steps after the warm-up."""

    def __init__(
        self,
        *,
        warmup: Share = 0.1,
        every: Annotated[float, Field(gt=0, le=1)] = 0.3,
        gamma: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ):
        super().__init__(warmup)
        self.every, self.gamma = every, gamma

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        return self.gamma ** (step // max(1, round(self.every * n_steps)))


@register("schedule", "wsd", source="Hu et al. 2024, arXiv:2404.06395; 1 - sqrt: Haegele et al. 2024, arXiv:2405.18392")
class WarmupStableDecay(Schedule):
    """Full speed, then down to the share ``final`` in the last ``decay`` share of the steps after the warm-up."""

    def __init__(
        self,
        *,
        warmup: Share = 0.1,
        decay: Share = 0.2,
        final: Share = 0.0,
        form: Literal["linear", "cosine", "one_minus_sqrt"] = "linear",
    ):
        super().__init__(warmup)
        self.decay, self.final, self.form = decay, final, form

    def after(self, step: int, n_steps: int, n_warmup: int) -> float:
        n_decay = round(self.decay * n_steps)
        n_stable = n_steps - n_decay
        if step < n_stable or not n_decay:
            return 1.0
        done = min(1.0, (step - n_stable) / n_decay)
        left = {
            "linear": 1 - done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
            "one_minus_sqrt": 1 - math.sqrt(done),
        }[self.form]
        return self.final + (1 - self.final) * left
