"""Size: how many numbers a model has, bounded before it is built, so that a slip of a zero does not fill the memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from .build import build_uninitialized
from .config import ModelConfig

LARGEST_MODULES = 100_000
"""Of a model; each takes some kilobytes and a tenth of a millisecond, whatever its size."""
PROBED_LAYERS = 64
"""A model of more layers is not built to know its size: that follows from two that have fewer."""
PLAINLY_SMALL = 2**16
"""A model with no larger setting can be built to know its size: that reserves memory, which nothing is written to."""
MOST_SHOWN = 10**24


class TooLargeError(ValueError):
    """A model that cannot be trained here; ``keys`` is the path of what to change in the configuration."""

    def __init__(self, keys: tuple[str, ...], message: str):
        super().__init__(message)
        self.keys = keys


@dataclass(frozen=True)
class Training:
    """What training keeps of every parameter."""

    state_per_parameter: int
    """Numbers of the optimizer, and of an average."""
    bytes_per_number: int = 4

    def n_bytes(self, parameters: float, buffers: float) -> float:
        """Of weights, gradients, optimizer and buffers together."""
        return self.bytes_per_number * (parameters * (2 + self.state_per_parameter) + buffers)


@dataclass(frozen=True)
class Size:
    """Numbers in a model, and its modules; infinite where they are too many to count."""

    parameters: float
    buffers: float
    modules: float

    def fits(self, training: Training, memory: float) -> bool:
        return self.modules <= LARGEST_MODULES and training.n_bytes(self.parameters, self.buffers) <= memory


ENDLESS = Size(inf, inf, inf)
TOO_MANY_MODULES = Size(0, 0, inf)
"""Of a model whose building was stopped."""


@contextmanager
def bounded() -> Iterator[None]:
    """Stops the building of a model of more than ``LARGEST_MODULES`` modules.

    Errors: TooLargeError, from inside.
    """
    count = 0

    def counting(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > LARGEST_MODULES:
            raise TooLargeError(("model",), f"more than {LARGEST_MODULES:,} modules; so large a model is not built")

    hook = torch_module.register_module_module_registration_hook(counting)
    try:
        yield
    finally:
        hook.remove()


def plainly_small(config: ModelConfig, vocabulary: int, length: int) -> bool:
    """Whether building the model to count it neither takes long nor fills the memory."""
    largest = max(vocabulary / 64, length / 2, *_numbers(config.model_dump(mode="json")))
    return config.n_layers <= PROBED_LAYERS and largest <= PLAINLY_SMALL


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def refuse_too_large(
    config: ModelConfig, vocabulary: int, length: int, n_classes: int | None, training: Training, memory: float
) -> None:
    """Errors: TooLargeError, at what makes it so large, where a model does not fit into ``memory`` bytes for training.

    It takes a second at most and little memory. Errors: also those of building a model whose parts do not fit.
    """

    def size_of(changes: dict[str, Any] | None = None, vocabulary: int = vocabulary, length: int = length) -> Size:
        return _size(config.model_copy(update=changes or {}), vocabulary, length, n_classes)

    def fits(size: Callable[[], Size]) -> bool:
        try:
            return size().fits(training, memory)
        except (ValueError, TypeError, RuntimeError):  # such as a number of heads that no longer divides the width
            return False

    size = size_of()
    if size.fits(training, memory):
        return
    fewer = min(config.n_layers, PROBED_LAYERS // 2)
    small = min(config.d_model, 64 * config.n_heads if config.n_heads <= 64 else config.n_heads)
    causes: list[tuple[tuple[str, ...], str, Callable[[], Size]]] = [
        (("model", "n_layers"), f"{config.n_layers} layers are", lambda: size_of({"n_layers": fewer})),
        (("task",), f"with a vocabulary of {vocabulary:,} there are", lambda: size_of(vocabulary=2)),
        (("model", "max_length"), f"with a length of {config.max_length or length:,} there are",
         lambda: size_of({"max_length": None}, length=1)),
        (("model", "d_model"), f"with {config.d_model:,} features there are", lambda: size_of({"d_model": small})),
    ]  # fmt: skip
    keys, words = next(
        ((keys, words) for keys, words, without in causes if fits(without)),
        (("model",), "its parts have"),
    )
    raise TooLargeError(keys, f"{words} {_in_words(size, training, memory)}")


def _in_words(size: Size, training: Training, memory: float) -> str:
    n_bytes = training.n_bytes(size.parameters, size.buffers)
    if n_bytes > memory and size.parameters < MOST_SHOWN:
        needed = f"{size.parameters:,.0f} parameters, {_gigabytes(n_bytes)} with gradients and optimizer"
        return f"{needed}; this machine has {_gigabytes(memory)}"
    if n_bytes > memory:
        return f"more parameters than can be counted; this machine has {_gigabytes(memory)}"
    number = f"{size.modules:,.0f}" if size.modules < inf else f"more than {LARGEST_MODULES:,}"
    return f"{number} modules; at most {LARGEST_MODULES:,} are allowed"


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.0f} GB" if n_bytes >= 1e10 else f"{n_bytes / 1e9:.2g} GB"


def _size(config: ModelConfig, vocabulary: int, length: int, n_classes: int | None) -> Size:
    """Of a model of many layers from those of 32 and of 64: exact where layers repeat by a divisor of 32."""
    if config.n_layers <= PROBED_LAYERS:
        return _of_built(config, vocabulary, length, n_classes)
    half, whole = (
        _of_built(config.model_copy(update={"n_layers": n_layers}), vocabulary, length, n_classes)
        for n_layers in (PROBED_LAYERS // 2, PROBED_LAYERS)
    )
    if inf in (half.modules, whole.modules):
        return half if half.modules == inf else whole
    more = (config.n_layers - PROBED_LAYERS) / (PROBED_LAYERS // 2)
    return Size(
        whole.parameters + more * (whole.parameters - half.parameters),
        whole.buffers + more * (whole.buffers - half.buffers),
        whole.modules + more * (whole.modules - half.modules),
    )


def _of_built(config: ModelConfig, vocabulary: int, length: int, n_classes: int | None) -> Size:
    try:
        with bounded():
            model = build_uninitialized(config, vocabulary, length, n_classes, device="meta")
    except TooLargeError:
        return TOO_MANY_MODULES
    except (MemoryError, OverflowError):
        return ENDLESS
    except RuntimeError as error:
        if "overflow" in str(error):  # of the number of elements of one tensor
            return ENDLESS
        raise
    return size_of_model(model)


def size_of_model(model: nn.Module) -> Size:
    """Of a model that has been built."""
    return Size(
        sum(parameter.numel() for parameter in model.parameters()),
        sum(buffer.numel() for buffer in model.buffers()),
        sum(1 for _ in model.modules()),
    )
