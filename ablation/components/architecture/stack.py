"""Stack: the blocks of a Transformer one after another, and what an architecture puts before and behind them.

Shapes: B batch, L tokens, S tokens of the memory, M features of the model.
"""

# DOC-TO-MERGE: "From the last vectors to scores of the vocabulary, with the embedding's table or one of its own."

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ...registry import REGISTRY, ComponentConfig
from ..base import BuildContext
from ..block import Block
from ..context import ForwardContext
from ..embedding import Embedding
from ..position.base import Position

if TYPE_CHECKING:
    from ...model.config import ModelConfig


class CrossAttention(nn.Module):
    """A sublayer that looks at the encoder's output: any mixer that takes its keys and values from a memory."""

    def __init__(self, mixer: nn.Module, shape: BuildContext):
        super().__init__()
        self.mixer = mixer
        self.position = Position(shape)  # nothing says how far a source token lies from a target token

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        memory, mask = context.shared["memory"], context.shared["memory_mask"]
        return self.mixer(x, context.across(memory, mask, self.position))


class Stack(nn.Module):
    """Position, blocks and last norm; with ``cross`` every block also looks at a memory."""

    def __init__(self, config: "ModelConfig", shape: BuildContext, cross: ComponentConfig[Any] | None = None):
        super().__init__()
        check_position_supported(config.position, config.mixer)
        if cross is not None and not cross.component.supports_cross_attention:
            able = ", ".join(
                name for name, member in REGISTRY["mixer"].items() if member.component.supports_cross_attention
            )
            raise ValueError(f"{cross.name} cannot look at an encoder; architecture.cross can be: {able}")

        sublayer = count()

        def block(layer: int) -> Block:
            here = replace(shape, layer=layer)
            sublayers = [config.mixer.build(here), config.feedforward.build(here)]
            if cross is not None:
                sublayers.insert(1, CrossAttention(cross.build(replace(here, causal=False)), here))
            return config.block.build(
                here,
                sublayers,
                lambda: config.norm.build(here),
                lambda: config.residual.build(replace(here, sublayer=next(sublayer))),
            )

        self.position = config.position.build(shape)
        blocks = nn.ModuleList(block(layer) for layer in range(shape.n_layers))
        self.blocks = cast(Sequence[Block], blocks)  # a ModuleList is typed as one of any modules
        self.norm = config.norm.build(shape) if self.blocks[-1].norm_at_end else nn.Identity()

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        x = self.blocks[0].residuals[0].expand(x)
        for block in self.blocks:
            x = block(x, context)
        return self.norm(self.blocks[-1].residuals[-1].reduce(x))


def check_position_supported(position: ComponentConfig[Any], mixer: ComponentConfig[Any]) -> None:
    """Errors: ValueError when the mixer is deaf to what the position says: it would be a setting without effect."""
    heard: tuple[str, ...] = mixer.component.position_hooks
    if set(position_hooks(position.component)) <= set(heard):
        return
    able = ", ".join(
        name for name, member in REGISTRY["position"].items() if set(position_hooks(member.component)) <= set(heard)
    )
    raise ValueError(f"mixer {mixer.name} does not hear position {position.name}; with it, position can be: {able}")


def position_hooks(position: type) -> list[str]:
    """What a kind of position does: the hooks that are not the base's, which do nothing."""
    return [name for name in ("embed", "rotate", "bias") if getattr(position, name) is not getattr(Position, name)]


def bidirectional_context(
    position: Position, tokens: Tensor, padding: Tensor | None, losses: list[Tensor] | None
) -> ForwardContext:
    """The context of texts (B, L) in which every token may look at every other; padding is not looked at."""
    n_tokens = tokens.size(1)
    if padding is None:
        positions = torch.arange(n_tokens, device=tokens.device)
        mask = torch.ones(1, 1, 1, n_tokens, dtype=torch.bool, device=tokens.device)
    else:
        positions = (padding.cumsum(-1) - 1).clamp(min=0)
        mask = padding[:, None, None, :]
    mask = mask.expand(-1, -1, n_tokens, -1)
    return ForwardContext(position, positions, positions, mask, causal=False, padding=padding, losses=losses)


class LMHeadWithTable(nn.Module):
    """The configured readout and its table: the embedding's where they are tied."""

    def __init__(self, config: "ModelConfig", shape: BuildContext, vocabulary: int):
        super().__init__()
        self.form = config.lm_head.build(shape, vocabulary)
        self.table = None if config.tie_embeddings else nn.Linear(shape.d_model, vocabulary, bias=False)

    def forward(self, x: Tensor, embedding: Embedding) -> Tensor:
        """(B, L, M) -> (B, L, vocabulary)."""
        return self.form(x, embedding.table.weight if self.table is None else self.table.weight)
