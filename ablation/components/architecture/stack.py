"""Stack: the blocks of a Transformer one after another, with their positions and the last norm.

Shapes: B batch, L tokens, M features of the model.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any, cast

from torch import Tensor, nn

from ...registry import REGISTRY, ComponentConfig
from ..base import BuildContext
from ..block import Block
from ..context import ForwardContext
from ..position.base import Position, position_hooks
from .base import LayerParts, ModelParts


class CrossAttention(nn.Module):
    """A sublayer that attends to the encoder's output: any mixer that can take keys and values from a memory."""

    def __init__(self, mixer: nn.Module, build: BuildContext):
        super().__init__()
        self.mixer = mixer
        self.position = Position(build)  # source and target tokens have no distance

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        return self.mixer(x, context.cross(self.position))


class Stack(nn.Module):
    """Position, blocks and last norm; with ``cross`` every block also attends to the encoder's output."""

    def __init__(self, parts: ModelParts, build: BuildContext, cross: ComponentConfig[Any] | None = None):
        super().__init__()
        layers = [parts.layer(index) for index in range(build.n_layers)]
        check_positions(parts.default.position, layers)
        if cross is not None and not cross.component.supports_cross_attention:
            allowed = ", ".join(n for n, m in REGISTRY["mixer"].items() if m.component.supports_cross_attention)
            raise ValueError(f"{cross.name} cannot attend to an encoder; architecture.cross can be: {allowed}")
        sublayer = count()

        def block(index: int, layer: LayerParts) -> Block:
            here = replace(build, layer=index)
            sublayers: list[nn.Module] = [layer.mixer.build(here), layer.feedforward.build(here)]
            if cross is not None:
                sublayers.insert(1, CrossAttention(cross.build(replace(here, causal=False)), here))
            return layer.block.build(
                here,
                sublayers,
                lambda: layer.norm.build(here),
                lambda: layer.residual.build(replace(here, sublayer=next(sublayer))),
            )

        self.position = parts.default.position.build(build)
        blocks = nn.ModuleList(block(index, layer) for index, layer in enumerate(layers))
        self.blocks = cast(Sequence[Block], blocks)  # a ModuleList is typed as one of any modules
        self.norm = parts.default.norm.build(build) if self.blocks[-1].norm_at_end else nn.Identity()
        # Layers with the same other position share one, as all layers share the model's.
        others = dict.fromkeys(layer.position for layer in layers if layer.position != parts.default.position)
        other_positions = nn.ModuleList(position.build(build) for position in others)
        self.other_positions = cast(Sequence[Position], other_positions)
        index_of = {position: index for index, position in enumerate(others)}
        self.position_indices = [index_of.get(layer.position) for layer in layers]

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        """(B, L, M) -> (B, L, M)."""
        x = self.blocks[0].residuals[0].expand(x)
        for block, index in zip(self.blocks, self.position_indices, strict=True):
            x = block(x, context if index is None else replace(context, position=self.other_positions[index]))
        return self.norm(self.blocks[-1].residuals[-1].reduce(x))


def check_positions(default: ComponentConfig[Any], layers: Sequence[LayerParts]) -> None:
    """Errors: ValueError when a position affects none of the layers that have it: it would be without effect."""
    for layer in layers:
        position, hooks = layer.position, set(position_hooks(layer.position.component))
        if position != default and ("embed" in hooks or (not hooks and "embed" in position_hooks(default.component))):
            raise ValueError(
                f"layers: position {default.name} or {position.name} is added to the embeddings, once before the first "
                "layer; what some layers can have is a position that acts in attention, or none beside such a one"
            )
        same = [other.mixer for other in layers if other.position == position]
        if not any(hooks <= set(mixer.component.position_hooks) for mixer in same):
            mixer = layer.mixer
            members = REGISTRY["position"].items()
            supported = set(mixer.component.position_hooks)
            allowed = ", ".join(n for n, m in members if set(position_hooks(m.component)) <= supported)
            raise ValueError(f"mixer {mixer.name} has no use for position {position.name}; position can be: {allowed}")
