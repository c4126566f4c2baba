"""Weights on disk, in the format safetensors: tensors under the names of our modules, and no code."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_file, save_model
from torch import Tensor, nn

from ..errors import StorageError


def save_weights(model: nn.Module, file: Path) -> None:
    """Everything in the model's state; a tensor that several modules share is written once. Errors: OSError."""
    try:
        save_model(model, str(file))
    except SafetensorError as error:  # of a full disk, say
        raise OSError(str(error)) from None


def save_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Tensors by their names. Errors: OSError."""
    try:
        save_file(tensors, str(file))
    except SafetensorError as error:
        raise OSError(str(error)) from None


def load_weights(model: nn.Module, file: Path) -> None:
    """What ``save_weights`` wrote, in the model's own precision. Errors: StorageError when it is not this model's."""
    try:
        load_model(model, str(file))
    except (SafetensorError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise StorageError(f"{file}: not the weights of this run ({first})") from None
