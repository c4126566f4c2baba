"""How large the stream is after each block.

Shapes: B texts, L tokens, M features of the model.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...registry import register
from .contract import Course, Observer, blocks_of


@register("observer", "activations", source="Sun et al. 2024, arXiv:2402.17762; Sun et al. 2025, arXiv:2502.05795")
class Activations(Observer):
    """The root of the mean square of the stream after each block, where there are tokens; in the last look.

    Of a residual of several streams it is that of all of them.
    """

    def __init__(self) -> None:
        self.squares: list[Tensor] = []
        self.last: list[float] = []

    def watch(self, model: nn.Module) -> Iterable[RemovableHandle]:
        self.squares = []
        for stack in blocks_of(model):
            for block in stack:
                yield block.register_forward_hook(self.after_block)

    def after_block(self, block: nn.Module, arguments: Any, y: Tensor) -> None:
        padding = arguments[1].padding
        tokens = y if padding is None else y[padding]
        self.squares.append(tokens.double().square().mean())

    def look(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
        if not self.squares:
            return {}
        self.last = torch.stack(self.squares).sqrt().tolist()
        return {"activation_rms_max": max(self.last)}

    def summary(self, course: Course) -> dict[str, Any]:
        return {"activation_by_depth": self.last or None}
