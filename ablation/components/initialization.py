"""Initialization: the weights before the first step. A scheme says how; the seed comes from each weight's path."""

import hashlib
import logging
import math
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor, nn

from ..errors import InputError, nearest_file
from ..registry import ComponentConfig, Slot, component, excluded_from_id, register
from .base import BuildContext
from .block import Block

Std = Annotated[float, Field(gt=0)]


class Initialization:
    """Base of the schemes: a method per role of a linear map (see ``Role``), and one for tables of embeddings.

    A weight is (features out, features in). Biases of linear maps start at 0, gains of norms at 1.
    """

    def __init__(self, build: BuildContext):
        self.build = build

    def linear(self, weight: Tensor, generator: Generator) -> None:
        """Any linear map: fill ``weight`` (out, in) in place, as all others do."""
        raise NotImplementedError

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        """A map whose output is added to the residual stream, (out, in)."""
        self.linear(weight, generator)

    def unscaled_query(self, weight: Tensor, generator: Generator) -> None:
        """A map to the queries of scores that are not divided by sqrt(D), (out, in)."""
        self.linear(weight, generator)

    def router(self, weight: Tensor, generator: Generator) -> None:
        """A map to the scores of experts, (out, in)."""
        self.linear(weight, generator)

    def class_head(self, weight: Tensor, generator: Generator) -> None:
        """The map to the classes, (out, in)."""
        self.linear(weight, generator)

    def lm_head(self, weight: Tensor, generator: Generator) -> None:
        """The map to the vocabulary, (out, in), where it is not the embedding's table."""
        self.linear(weight, generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        """A table of embeddings, (V, M)."""
        raise NotImplementedError

    def check(self, model: nn.Module) -> None:
        """Errors: InputError when the model cannot be initialized so."""

    def load_pretrained(self, model: nn.Module) -> None:
        """Overwrite what is known of the weights, after all others are initialized."""


@register("initialization", "gpt2", source="Radford et al. 2019, Language Models are Unsupervised Multitask Learners")
class GPT2(Initialization):
    """Normal with ``std``; that of maps whose output is added to the stream is divided by sqrt(2 n_layers)."""

    def __init__(self, build: BuildContext, *, std: Std = 0.02):
        super().__init__(build)
        self.std = std

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std / (2 * self.build.n_layers) ** 0.5, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)


@register("initialization", "zero_out", source="Zhang et al. 2019, arXiv:1901.09321")
class ZeroOut(GPT2):
    """Normal with ``std``; maps whose output is added to the stream start at 0: every block starts as the identity.

    In the first step only these maps, the embedding and the head get a gradient.
    """

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        nn.init.zeros_(weight)


@register("initialization", "xavier", source="Glorot and Bengio 2010, AISTATS")
class Xavier(Initialization):
    """Uniform, with bounds that keep the variance forward and backward; embeddings normal with std 1 / sqrt(M)."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.xavier_uniform_(weight, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.build.d_model**-0.5, generator=generator)


@register("initialization", "small", source="Nguyen and Salazar 2019, arXiv:1910.05895")
class Small(Initialization):
    """Normal with std sqrt(2 / (5 M)), Xavier's for a feedforward of 4 M, for all maps; embeddings 1 / sqrt(M)."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=math.sqrt(2 / (5 * self.build.d_model)), generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.build.d_model**-0.5, generator=generator)


@register("initialization", "t5", source="Raffel et al. 2019, arXiv:1910.10683")
class T5(Initialization):
    """Normal with std 1 / sqrt(features in); embeddings and an untied head with std 1.

    Where attention has ``scale: false``, as in T5, its queries start smaller by sqrt(D): scores start alike.
    """

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=weight.size(1) ** -0.5, generator=generator)

    def unscaled_query(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=(weight.size(1) * self.build.d_head) ** -0.5, generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=1.0, generator=generator)

    def lm_head(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=1.0, generator=generator)


@register("initialization", "mup", source="Yang et al. 2022, arXiv:2203.03466")
class MuP(Initialization):
    """Normal with std ``std`` sqrt(base / features in); an untied head and that of classes ``std`` base / M.

    Embeddings have ``std``. These are the initial weights of the maximal update parametrization: at d_model = ``base``
    maps of M features start with the std of the embeddings. The rest of it is set elsewhere: ``base_width`` of the
    optimizer, untied embeddings, and the attention's ``scale: width``, which divides by D.
    """

    def __init__(self, build: BuildContext, *, std: Std = 0.02, base: Annotated[int, Field(ge=1)] = 128):
        super().__init__(build)
        self.std, self.base = std, base

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std * math.sqrt(self.base / weight.size(1)), generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std, generator=generator)

    def lm_head(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, std=self.std * self.base / weight.size(1), generator=generator)

    def class_head(self, weight: Tensor, generator: Generator) -> None:
        self.lm_head(weight, generator)


@register("initialization", "default_torch", source="He et al. 2015, arXiv:1502.01852, as torch.nn.Linear has it")
class DefaultTorch(Initialization):
    """Uniform within 1 / sqrt(features in), embeddings with std 1: torch's defaults, but biases start at 0."""

    def linear(self, weight: Tensor, generator: Generator) -> None:
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        nn.init.normal_(weight, generator=generator)


LOG = logging.getLogger(__name__)


@register(
    "initialization", "pretrained", source="Dai and Le 2015, arXiv:1511.01432; Howard and Ruder 2018, arXiv:1801.06146"
)
class Pretrained(Initialization):
    """The weights of a checkpoint; what it lacks or has in another shape is initialized by ``otherwise``.

    ``path`` is a file that `ablate import` wrote, and ``fingerprint`` its sha256, which stands for it in a run's
    identity. The run's log names the tensors that the checkpoint did not have.
    """

    def __init__(
        self,
        build: BuildContext,
        *,
        path: Annotated[Path | None, excluded_from_id] = None,
        fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None,
        otherwise: Annotated[ComponentConfig[Initialization], Slot("initialization")] = component(
            "initialization", "gpt2"
        ),
    ):
        super().__init__(build)
        if path is None or fingerprint is None:
            missing = "path" if path is None else "fingerprint"
            raise InputError(f"initialization pretrained: {missing} is missing; `ablate import` writes it")
        self.path, self.fingerprint = path, fingerprint
        self.otherwise: Initialization = otherwise.build(build)

    def linear(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.linear(weight, generator)

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.out_projection(weight, generator)

    def unscaled_query(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.unscaled_query(weight, generator)

    def router(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.router(weight, generator)

    def class_head(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.class_head(weight, generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.embedding(weight, generator)

    def lm_head(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.lm_head(weight, generator)

    def check(self, model: nn.Module) -> None:
        blocks = (block for block in model.modules() if isinstance(block, Block))
        if any("0" not in dict(block.sublayers.named_children()) for block in blocks):
            raise InputError(
                "initialization pretrained: a layer without a mixer would take the norm of the checkpoint's mixer; "
                "mixer none needs another initialization"
            )
        self.fitting(model)

    def load_pretrained(self, model: nn.Module) -> None:
        from safetensors import safe_open

        state, fitting = model.state_dict(), self.fitting(model)
        with safe_open(self.path, "pt") as checkpoint:
            for name in fitting:
                state[name].copy_(checkpoint.get_tensor(name))
        missing = [name for name in state if name not in fitting]
        if missing:
            counts = len(missing), len(state)
            LOG.warning("%s: %d of %d tensors are not in it and were initialized:", self.path.name, *counts)
            for name in missing:
                LOG.warning("  %s %s", name, tuple(state[name].shape))

    def fitting(self, model: nn.Module) -> set[str]:
        """The tensors of the model that the checkpoint has in the same shape. Errors: InputError for none."""
        from safetensors import SafetensorError, safe_open

        if not self.path.is_file():
            raise InputError(f"initialization pretrained: there is no file {self.path}{nearest_file(self.path)}")
        status = self.path.stat()
        if _sha256(self.path, status.st_mtime_ns, status.st_size) != self.fingerprint:
            raise InputError(f"initialization pretrained: {self.path} is not the file whose fingerprint is given")
        try:
            with safe_open(self.path, "pt") as checkpoint:
                shapes = {name: tuple(checkpoint.get_slice(name).get_shape()) for name in checkpoint.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"initialization pretrained: {self.path} is not a safetensors file ({error})") from None
        fitting = {name for name, tensor in model.state_dict().items() if shapes.get(name) == tuple(tensor.shape)}
        if not fitting:
            raise InputError(f"initialization pretrained: no tensor of {self.path} fits into this model")
        return fitting


@cache
def _sha256(file: Path, modified: int, size: int) -> str:
    """Cached by size and time of the file: a grid needs it for every cell."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
