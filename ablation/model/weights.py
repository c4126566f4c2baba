"""Weights on disk, in the format safetensors: tensors under the names of our modules, and no code."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_file, save_model
from torch import Tensor, nn

from ..errors import StorageError


def save_weights(model: nn.Module, file: Path) -> None:
    """Everything in the model's state; a tensor that several modules share is written once. Errors: OSError."""
    try:
        with _usual_mode(file):
            save_model(model, str(file))
    except SafetensorError as error:  # of a full disk, say
        raise OSError(str(error)) from None


def save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Tensors by their names. Errors: OSError."""
    try:
        with _usual_mode(file):
            save_file(tensors, str(file))
    except SafetensorError as error:
        raise OSError(str(error)) from None


@contextmanager
def _usual_mode(file: Path) -> Iterator[None]:
    """Who may read the file that is written inside is as with any new file; safetensors lets its owner alone."""
    file.touch()
    mode = stat.S_IMODE(file.stat().st_mode)
    yield
    file.chmod(mode)


def load_fitting(model: nn.Module, file: Path) -> list[str]:
    """Copy the tensors of ``file`` that the model has under the same name in the same shape; returns the other ones.

    Errors: StorageError when the file cannot be read, or no tensor fits.
    """
    state = model.state_dict()
    try:
        with safe_open(file, "pt") as weights:
            shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
            fitting = [name for name, tensor in state.items() if shapes.get(name) == tuple(tensor.shape)]
            for name in fitting:
                state[name].copy_(weights.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{file}: cannot be read ({error})") from None
    if not fitting:
        raise StorageError(f"{file}: none of its tensors fits into this model")
    copied = {state[name].data_ptr() for name in fitting}  # of a tensor with two names one was written
    return [name for name, tensor in state.items() if tensor.data_ptr() not in copied]


def load_weights(model: nn.Module, file: Path) -> None:
    """What ``save_weights`` wrote, in the model's own precision. Errors: StorageError when it is not this model's."""
    try:
        load_model(model, str(file))
    except (SafetensorError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise StorageError(f"{file}: not the weights of this run ({first})") from None
