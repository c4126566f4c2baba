"""The model's part of the configuration. The baseline's values stand in conf/base.yaml."""

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from .. import components  # noqa: F401  fills the slots
from ..components.shape import Shape
from ..registry import REGISTRY, AddedLater, ComponentConfig, Config, Slot
from . import decoder, encoder, encoder_decoder  # noqa: F401  fill the slot

PLAIN_EMBEDDING = REGISTRY["embedding"]["plain"](name="plain")
LINEAR_READOUT = REGISTRY["readout"]["linear"](name="linear")


class ModelConfig(Config):
    """Sizes, and one component in every slot."""

    architecture: Annotated[ComponentConfig, Slot("architecture")]
    d_model: PositiveInt
    """Features of the residual stream."""
    n_layers: PositiveInt
    n_heads: PositiveInt
    n_kv_heads: PositiveInt | None
    """Heads of the keys and values, a divisor of n_heads; null: as many."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share dropped after each sublayer and inside the feedforward, never on the residual path."""
    tie_embeddings: bool
    """Whether the embedding table reads the result out as well."""
    max_length: PositiveInt | None = None
    """The longest text the model is built for, in tokens; null: the length of the data."""
    embedding: Annotated[ComponentConfig, Slot("embedding"), AddedLater(PLAIN_EMBEDDING)] = PLAIN_EMBEDDING
    readout: Annotated[ComponentConfig, Slot("readout"), AddedLater(LINEAR_READOUT)] = LINEAR_READOUT
    position: Annotated[ComponentConfig, Slot("position")]
    block: Annotated[ComponentConfig, Slot("block")]
    norm: Annotated[ComponentConfig, Slot("norm")]
    mixer: Annotated[ComponentConfig, Slot("mixer")]
    feedforward: Annotated[ComponentConfig, Slot("feedforward")]
    residual: Annotated[ComponentConfig, Slot("residual")]
    initialisation: Annotated[ComponentConfig, Slot("initialisation")]

    @model_validator(mode="after")
    def heads_divide(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {self.d_model}")
        if self.n_kv_heads and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        return self

    def shape(self, length: int) -> Shape:
        """The sizes of a model for texts of ``length`` tokens. Errors: ValueError when it is built for shorter ones."""
        if self.max_length and self.max_length < length:
            raise ValueError(f"max_length {self.max_length} is shorter than the texts of {length} tokens")
        return Shape(
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            max_length=self.max_length or length,
            dropout=self.dropout,
            causal=self.architecture.component.causal,  # type: ignore[attr-defined]
        )
