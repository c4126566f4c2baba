"""Initialisation: what weights are before the first step. How to draw is said here; the seed comes from the path."""

import math
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor, nn

from ..registry import register
from .shape import Shape

Width = Annotated[float, Field(gt=0)]


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

    def unscaled_query(self, weight: Tensor, d_head: int, generator: Generator) -> None:
        """A linear map to queries of ``d_head`` features, (features out, features in), where scores have no scale."""
        self.linear(weight, generator)

    def classes(self, weight: Tensor, generator: Generator) -> None:
        """The linear map to classes, (classes, M)."""
        self.linear(weight, generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        """A table of vectors, (entries, M)."""
        raise NotImplementedError

    def readout(self, weight: Tensor, generator: Generator) -> None:
        """The readout's own table (vocabulary, M), where it is not the embedding's."""
        self.linear(weight, generator)

    def check(self, model: nn.Module) -> None:
        """Errors: InputError when the model cannot start so."""

    def lay_over(self, model: nn.Module) -> None:
        """What is known of the weights, once all others are drawn."""


@register("initialisation", "gpt2", source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners")
class GPT2(Initialisation):
    """Normal of width ``std``; what writes to the stream is divided by sqrt(2 n_layers)."""

    def __init__(self, shape: Shape, *, std: Width = 0.02):
        super().__init__(shape)
        self.std = std

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std / (2 * self.shape.n_layers) ** 0.5, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)


@register("initialisation", "zero_out", source="Zhang et al. 2019, arXiv:1901.09321")
class ZeroOut(GPT2):
    """Normal of width ``std``; what writes to the stream starts at 0, so that every block starts as the identity.

    In the first step only the out maps, the embedding and the readout get a gradient.
    """

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        nn.init.zeros_(weight)


@register("initialisation", "xavier", source="Glorot and Bengio 2010, AISTATS")
class Xavier(Initialisation):
    """Uniform, so wide that variance is kept forward and backward; embeddings normal of width 1 / sqrt(M)."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.xavier_uniform_(weight, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.shape.d_model**-0.5, generator=generator)


@register("initialisation", "small", source="Nguyen and Salazar 2019, arXiv:1910.05895")
class Small(Initialisation):
    """Normal of width sqrt(2 / (5 M)), Xavier's for a feedforward of 4 M, on all maps; embeddings 1 / sqrt(M)."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=math.sqrt(2 / (5 * self.shape.d_model)), generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.shape.d_model**-0.5, generator=generator)


@register("initialisation", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Initialisation):
    """Normal of width 1 / sqrt(features in); embeddings and the readout's own table of width 1.

    Where attention has ``scale: false``, as in T5, its queries start narrower by sqrt(D): scores start alike.
    """

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=weight.size(1) ** -0.5, generator=generator)

    def unscaled_query(self, weight: Tensor, d_head: int, generator: Generator) -> None:
        nn.init.normal_(weight, std=(weight.size(1) * d_head) ** -0.5, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=1.0, generator=generator)

    def readout(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=1.0, generator=generator)


@register("initialisation", "mup", source="Yang et al. 2022, arXiv:2203.03466")
class MuP(Initialisation):
    """Normal of width ``std`` sqrt(base / features in), the readout's own table and that of classes ``std`` base / M.

    Embeddings are of width ``std``.

    The initial weights of the maximal update parametrisation: at d_model = ``base`` maps of M features are drawn as
    wide as the embeddings. The rest of it is set elsewhere: ``base_width`` of the optimiser, untied embeddings, and the
    attention's ``scale: width``, which divides by D.
    """

    def __init__(self, shape: Shape, *, std: Width = 0.02, base: Annotated[int, Field(ge=1)] = 128):
        super().__init__(shape)
        self.std, self.base = std, base

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std * math.sqrt(self.base / weight.size(1)), generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)

    def readout(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std * self.base / weight.size(1), generator=generator)

    def classes(self, weight: Tensor, generator: Generator) -> None:
        self.readout(weight, generator)


@register("initialisation", "default_torch", source="He et al. 2015, arXiv:1502.01852, as torch.nn.Linear has it")
class DefaultTorch(Initialisation):
    """Uniform within 1 / sqrt(features in), embeddings of width 1: what torch draws, but shifts start at 0."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, generator=generator)
