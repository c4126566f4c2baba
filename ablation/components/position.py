"""Position: how a token learns where it stands.

Shapes: B batch, L queries, S keys, H heads, D features of a head, M features of the model. Positions are integers,
``(L,)`` or, where the texts of a batch start at different places, ``(B, L)``.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .shape import Shape


@register("position", "none", source="Haviv et al. 2022, arXiv:2203.16634")
class Position(nn.Module):
    """No information on positions: a causal decoder can still count what it sees.

    All others derive from this one and override one hook: once before the first block, or in every attention on
    queries and keys, or in every attention on the scores.
    """

    def __init__(self, shape: Shape):
        super().__init__()

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Token embeddings (B, L, M) -> the same, placed."""
        return x

    def rotate(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, H, L, D) and keys (B, H, S, D) -> the same, placed."""
        return q, k

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """What is added to the scaled scores, (B or 1, H, L, S), or None for nothing."""
        return None


@register("position", "learned", source="Gehring et al. 2017, arXiv:1705.03122")
class Learned(Position):
    """One trained vector per position, added to the token embeddings."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.table = nn.Embedding(shape.max_length, shape.d_model)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        try:
            return x + self.table(positions)
        except IndexError:  # of a CPU; an accelerator is not asked, since the answer would have to be waited for
            end, farthest = self.table.num_embeddings, int(positions.max())
            raise ValueError(f"learned positions end at {end - 1}, not at {farthest}: raise model.max_length") from None


@register("position", "sinusoidal", source="Vaswani et al. 2017, arXiv:1706.03762")
class Sinusoidal(Position):
    """Fixed sines and cosines of many wavelengths, added to the scaled token embeddings.

    ``embedding_scale`` multiplies the token embeddings first; None stands for sqrt(M), as in section 3.4 of the
    paper, without which small initial embeddings drown in the sines.
    """

    frequency: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        base: Annotated[float, Field(gt=1)] = 10_000.0,
        embedding_scale: Annotated[float, Field(gt=0)] | None = None,
    ):
        super().__init__(shape)
        self.scale = math.sqrt(shape.d_model) if embedding_scale is None else embedding_scale
        self.register_buffer("frequency", frequencies(shape.d_model, base), persistent=False)

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        angle = positions.unsqueeze(-1) * self.frequency
        waves = torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[..., : x.size(-1)]
        return x * self.scale + waves.to(x.dtype)


@register("position", "rope", source="Su et al. 2021, arXiv:2104.09864")
class Rope(Position):
    """Turns pairs of query and key features by an angle proportional to the position.

    Feature i is paired with feature i + D/2, as in LLaMA; pairing neighbours is the same up to a permutation.
    """

    frequency: Tensor

    def __init__(self, shape: Shape, *, theta: Annotated[float, Field(gt=1)] = 10_000.0):
        super().__init__(shape)
        if shape.d_head % 2:
            raise ValueError(f"rope turns pairs of features: d_head {shape.d_head} is odd")
        self.register_buffer("frequency", frequencies(shape.d_head, theta), persistent=False)

    def rotate(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.turn(q, q_positions), self.turn(k, k_positions)

    def turn(self, x: Tensor, positions: Tensor) -> Tensor:
        angle = (positions.unsqueeze(-1) * self.frequency).unsqueeze(-3)  # (1, L, D/2) or (B, 1, L, D/2)
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


@register("position", "alibi", source="Press et al. 2021, arXiv:2108.12409")
class Alibi(Position):
    """A penalty on the scores that grows with the distance, at a fixed slope per head."""

    slopes: Tensor

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.n_heads)[:, None, None], persistent=False)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return -self.slopes * distance(q_positions, k_positions).abs()


@register("position", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Position):
    """A trained bias per head and per range of distances to the past, shared by all layers.

    The nearer half of the ``buckets`` holds one distance each, the farther half ranges that grow by a constant factor
    up to ``farthest`` tokens, beyond which all distances share the last.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        buckets: Annotated[int, Field(ge=4, multiple_of=2)] = 32,
        farthest: Annotated[int, Field(ge=4)] = 128,
    ):
        super().__init__(shape)
        if farthest <= buckets // 2:
            raise ValueError(
                f"farthest {farthest} must lie beyond the {buckets // 2} distances that have a bucket each"
            )
        self.farthest, self.std = farthest, shape.d_model**-0.5
        self.table = nn.Parameter(torch.zeros(buckets, shape.n_heads))

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.table, std=self.std, generator=generator)

    def bias(self, q: Tensor, k: Tensor, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        return self.table[self.bucket(distance(q_positions, k_positions).squeeze(-3))].movedim(-1, -3)

    def bucket(self, distance: Tensor) -> Tensor:
        """Distances to the past in tokens -> index of the bucket; the future falls into the first."""
        exact = len(self.table) // 2
        past = distance.clamp(min=0)
        log_distance = (past.clamp(min=exact) / exact).log() / math.log(self.farthest / exact)
        far = exact + (log_distance * exact).long()
        return torch.where(past < exact, past, far.clamp(max=2 * exact - 1))


def frequencies(features: int, base: float) -> Tensor:
    """Radians per token of each pair of features, (features / 2,), from 1 down to almost 1 / base."""
    return base ** (-torch.arange(0, features, 2, dtype=torch.float32) / features)


def distance(q_positions: Tensor, k_positions: Tensor) -> Tensor:
    """How far each key lies before each query, in tokens: (B or 1, 1, L, S)."""
    difference = q_positions.unsqueeze(-1) - k_positions.unsqueeze(-2)
    return difference[None, None] if difference.dim() == 2 else difference.unsqueeze(1)


def alibi_slopes(n_heads: int) -> Tensor:
    """One slope per head, (H,): a geometric series for a power of two, else the next lower series and every second
    slope of the next higher one, as in the authors' code."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * head / power) for head in range(1, power + 1)]
    slopes += [2 ** (-4 * head / power) for head in range(1, 2 * (n_heads - power), 2)]
    return torch.tensor(slopes)
