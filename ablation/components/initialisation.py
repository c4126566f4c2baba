"""Initialisation: what weights are before the first step. How to draw is said here; the seed comes from the path."""

from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor, nn

from ..registry import register
from .shape import Shape


class Initialisation:
    """Base of the schemes. Shifts of linear maps start at 0, gains of norms at 1."""

    def __init__(self, shape: Shape):
        self.shape = shape

    def linear(self, weight: Tensor, generator: Generator) -> None:
        """A linear map, (features out, features in)."""
        raise NotImplementedError

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        """A linear map whose output is added to the residual stream, (M, features in)."""
        self.linear(weight, generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        """A table of vectors, (entries, M)."""
        raise NotImplementedError


@register("initialisation", "gpt2", source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners")
class GPT2(Initialisation):
    """Normal of width ``std``; what writes to the stream is divided by sqrt(2 n_layers)."""

    def __init__(self, shape: Shape, *, std: Annotated[float, Field(gt=0)] = 0.02):
        super().__init__(shape)
        self.std = std

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std / (2 * self.shape.n_layers) ** 0.5, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)


@register("initialisation", "xavier", source="Glorot and Bengio 2010, AISTATS")
class Xavier(Initialisation):
    """Uniform, so wide that variance is kept forward and backward; embeddings normal of width 1 / sqrt(M)."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.xavier_uniform_(weight, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.shape.d_model**-0.5, generator=generator)
