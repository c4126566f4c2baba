"""Pretrained: what was learnt elsewhere, as weights to start from."""

import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn

from ..errors import InputError, nearest_file
from ..registry import ComponentConfig, Elsewhere, Slot, register
from .initialisation import Initialisation
from .shape import Shape

LOG = logging.getLogger(__name__)


@register(
    "initialisation", "pretrained", source="Dai and Le 2015, arXiv:1511.01432; Howard and Ruder 2018, arXiv:1801.06146"
)
class Pretrained(Initialisation):
    """What a checkpoint holds; what it lacks or has in another shape is drawn as ``otherwise`` says.

    ``path`` is a file that `ablate import` wrote, and ``fingerprint`` its sha256, which stands for it in a run's
    identity. What was drawn is named in the run's log.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        path: Annotated[Path | None, Elsewhere()] = None,
        fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None,
        otherwise: Annotated[ComponentConfig, Slot("initialisation")] = "gpt2",  # type: ignore[assignment]
    ):
        super().__init__(shape)
        if path is None or fingerprint is None:
            missing = "path" if path is None else "fingerprint"
            raise InputError(f"initialisation pretrained: {missing} is missing; `ablate import` writes it")
        self.path, self.fingerprint = path, fingerprint
        self.otherwise: Initialisation = otherwise.build(shape)

    def linear(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.linear(weight, generator)

    def out_projection(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.out_projection(weight, generator)

    def unscaled_query(self, weight: Tensor, d_head: int, generator: Generator) -> None:
        self.otherwise.unscaled_query(weight, d_head, generator)

    def classes(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.classes(weight, generator)

    def embedding(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.embedding(weight, generator)

    def readout(self, weight: Tensor, generator: Generator) -> None:
        self.otherwise.readout(weight, generator)

    def check(self, model: nn.Module) -> None:
        self.fitting(model)

    def lay_over(self, model: nn.Module) -> None:
        state, fitting = model.state_dict(), self.fitting(model)
        with safe_open(self.path, "pt") as checkpoint:
            for name in fitting:
                state[name].copy_(checkpoint.get_tensor(name))
        drawn = [name for name in state if name not in fitting]
        if drawn:
            LOG.warning("%s: %d of %d tensors are not in it and were drawn:", self.path.name, len(drawn), len(state))
            for name in drawn:
                LOG.warning("  %s %s", name, tuple(state[name].shape))

    def fitting(self, model: nn.Module) -> set[str]:
        """The tensors of the model that the checkpoint has in the same shape. Errors: InputError for none."""
        if not self.path.is_file():
            raise InputError(f"initialisation pretrained: there is no file {self.path}{nearest_file(self.path)}")
        status = self.path.stat()
        if _sha256(self.path, status.st_mtime_ns, status.st_size) != self.fingerprint:
            raise InputError(f"initialisation pretrained: {self.path} is not the file whose fingerprint is given")
        try:
            with safe_open(self.path, "pt") as checkpoint:
                shapes = {name: tuple(checkpoint.get_slice(name).get_shape()) for name in checkpoint.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"initialisation pretrained: {self.path} is not a safetensors file ({error})") from None
        fitting = {name for name, tensor in model.state_dict().items() if shapes.get(name) == tuple(tensor.shape)}
        if not fitting:
            raise InputError(f"initialisation pretrained: no tensor of {self.path} fits into this model")
        return fitting


@cache
def _sha256(file: Path, modified: int, size: int) -> str:
    """Of one file as it was then: a grid asks for every cell."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
