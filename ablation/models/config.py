"""The model's part of the configuration. The baseline's values stand in conf/base.yaml."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from .. import components  # noqa: F401  fills the slots
from ..components.shape import Shape
from ..registry import REGISTRY, AddedLater, ComponentConfig, Config, Slot
from . import decoder, encoder, encoder_decoder, prefix_decoder  # noqa: F401  fill the slot

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
    d_head: Annotated[PositiveInt | None, AddedLater(None)] = None
    """Features of one head; null: d_model / n_heads, which n_heads then has to divide."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Share dropped after each sublayer and inside the feedforward; where exactly, the block's ``dropout_on`` says."""
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
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {self.d_model}")
        if self.n_kv_heads and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        return self

    @model_validator(mode="after")
    def heads_are_heard(self) -> Self:
        deaf = deaf_to_heads(self)
        if deaf and self.d_head is not None:
            raise ValueError(f"d_head {self.d_head} has no effect: {deaf} has no heads; set it to null")
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
            d_head=self.d_head or self.d_model // self.n_heads,
        )


def deaf_to_heads(model: ModelConfig) -> str | None:
    """The mixers' names, where none of them has heads."""
    found = list(mixers(model))
    if any(mixer.component.hears_heads for mixer in found):  # type: ignore[attr-defined]
        return None
    return " and ".join(dict.fromkeys(mixer.name for mixer in found))


def mixers(config: Config) -> Iterator[ComponentConfig]:
    """Those in the configuration, within other components too."""
    for name in type(config).model_fields:
        part = getattr(config, name)
        if isinstance(part, ComponentConfig):
            if part.slot == "mixer":
                yield part
            yield from mixers(part)
