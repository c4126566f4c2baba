"""The normaliser of the output's softmax."""

from typing import Any

from torch import Tensor, nn

from ...registry import register
from .contract import Course, Looks, Observer


@register("observer", "log_z", source="Chowdhery et al. 2022, arXiv:2204.02311; Wortsman et al. 2023, arXiv:2309.14322")
class LogZ(Observer):
    """log Z = log sum exp(scores), its mean over tokens: it drifts where nothing holds the scores' level.

    ``log_z`` is that of the last look, ``log_z_growth`` how far it came since the first look in the last half.
    """

    def __init__(self) -> None:
        self.looks = Looks()

    @classmethod
    def needs_pass(cls) -> bool:
        return True

    def look(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if scores is None:
            return {}
        log_z = scores.logsumexp(-1).mean().item()
        self.looks.add(step, log_z)
        return {"log_z": log_z}

    def summary(self, course: Course) -> dict[str, Any]:
        late = [value for _, value in self.looks.last_half(course.max_steps)]
        return {
            "log_z": self.looks.values[-1] if self.looks.values else None,
            "log_z_growth": late[-1] - late[0] if len(late) > 1 else None,
        }
