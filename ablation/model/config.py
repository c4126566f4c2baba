"""The model's part of the configuration. The baseline's values stand in conf/base.yaml."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, PositiveInt, model_validator

from .. import components  # noqa: F401  fills the slots
from ..components.base import BuildContext
from ..components.block import Block
from ..components.embedding import Embedding
from ..components.feedforward import Feedforward
from ..components.initialization import Initialization
from ..components.lm_head import LMHead
from ..components.mixer.base import Mixer
from ..components.position.base import Position
from ..components.residual import Residual
from ..registry import ComponentConfig, Config, Slot, component


class ModelConfig(Config):
    """Sizes, and one component in every slot."""

    architecture: Annotated[ComponentConfig[Any], Slot("architecture")]
    d_model: PositiveInt
    """Features of the residual stream."""
    n_layers: PositiveInt
    n_heads: PositiveInt
    n_kv_heads: PositiveInt | None
    """Heads of the keys and values, a divisor of n_heads; null: as many."""
    d_head: PositiveInt | None = None
    """Features of one head; null: d_model / n_heads, which n_heads then has to divide."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share dropped after each sublayer and inside the feedforward; where exactly, the block's ``dropout_on`` says."""
    tie_embeddings: bool
    """Whether the embedding table reads the result out as well."""
    max_length: PositiveInt | None = None
    """The longest text the model is built for, in tokens; null: the length of the data."""
    embedding: Annotated[ComponentConfig[Embedding], Slot("embedding")] = component("embedding", "plain")
    lm_head: Annotated[ComponentConfig[LMHead], Slot("lm_head")] = component("lm_head", "linear")
    position: Annotated[ComponentConfig[Position], Slot("position")]
    block: Annotated[ComponentConfig[Block], Slot("block")]
    norm: Annotated[ComponentConfig[Any], Slot("norm")]
    mixer: Annotated[ComponentConfig[Mixer], Slot("mixer")]
    feedforward: Annotated[ComponentConfig[Feedforward], Slot("feedforward")]
    residual: Annotated[ComponentConfig[Residual], Slot("residual")]
    initialization: Annotated[ComponentConfig[Initialization], Slot("initialization")]

    @model_validator(mode="after")
    def heads_divide(self) -> Self:
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {self.d_model}")
        if self.n_kv_heads and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        return self

    @model_validator(mode="after")
    def heads_are_heard(self) -> Self:
        deaf = mixers_without_heads(self)
        if deaf and self.d_head is not None:
            raise ValueError(f"d_head {self.d_head} has no effect: {deaf} has no heads; set it to null")
        return self

    def shape(self, length: int) -> BuildContext:
        """The sizes of a model for texts of ``length`` tokens. Errors: ValueError when it is built for shorter ones."""
        if self.max_length and self.max_length < length:
            raise ValueError(f"max_length {self.max_length} is shorter than the texts of {length} tokens")
        return BuildContext(
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            max_length=self.max_length or length,
            dropout=self.dropout,
            causal=self.architecture.component.causal,
            d_head=self.d_head or self.d_model // self.n_heads,
        )


def mixers_without_heads(model: ModelConfig) -> str | None:
    """The mixers' names, where none of them has heads."""
    found = list(mixers(model))
    if any(mixer.component.uses_heads for mixer in found):
        return None
    return " and ".join(dict.fromkeys(mixer.name for mixer in found))


def mixers(config: Config) -> Iterator[ComponentConfig[Any]]:
    """Those in the configuration, within other components too."""
    for name in type(config).model_fields:
        part = getattr(config, name)
        if isinstance(part, ComponentConfig):
            if part.slot == "mixer":
                yield part
            yield from mixers(part)
