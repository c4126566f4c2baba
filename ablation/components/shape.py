"""The sizes that every component is built for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of one model, in features, heads, layers and tokens."""

    d_model: int
    """Features of the residual stream, ``M`` in the shapes."""
    n_layers: int
    n_heads: int
    """Heads of the queries, ``H`` in the shapes."""
    n_kv_heads: int
    """Heads of the keys and values: a divisor of ``n_heads``."""
    max_length: int
    """The longest text the model is built for, in tokens."""
    dropout: float = 0.0
    """Share of features dropped after each sublayer and inside the feedforward."""
    layer: int = 0
    """Which layer a part is built for, from 0."""
    sublayer: int = 0
    """Which sublayer of the whole stack a residual is built for, from 0."""
    causal: bool = True
    """Whether no token may see a later one."""
    d_head: int = 0
    """Features of one head, ``D`` in the shapes; left out, ``d_model // n_heads``."""

    def __post_init__(self) -> None:
        if not self.d_head:
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)  # frozen for all others
