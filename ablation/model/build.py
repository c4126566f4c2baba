"""A model from its configuration, every weight initialized from the seed and its own path."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, nn
from torch.overrides import TorchFunctionMode

from ..components.base import role_of
from ..components.block import Block
from ..components.initialization import Initialization
from ..rng import derive, generator
from .config import ModelConfig


@runtime_checkable
class CustomInit(Protocol):
    """A module that initializes the parameters it holds directly, once, from the generator it is given."""

    def initialize(self, generator: Generator) -> None: ...


def build_model(
    config: ModelConfig, vocabulary: int, length: int, seed: int, n_classes: int | None = None
) -> nn.Module:
    """The model for sequences of ``length`` tokens, ready to train; with ``n_classes`` a classifier.

    Two models that share a tensor, by path and shape, start with the same numbers in it, whatever else differs.
    """
    build = config.build_context(length)
    with torch.random.fork_rng(devices=[]):  # constructors may draw random numbers, which are overwritten below
        torch.default_generator.manual_seed(derive(seed, "build"))  # torch.manual_seed would seed accelerators as well
        model: nn.Module = config.architecture.build(config.parts(), build, vocabulary, n_classes)
    initialize(model, config.initialization.build(build), seed)
    return model


def build_uninitialized(
    config: ModelConfig, vocabulary: int, length: int, n_classes: int | None = None, device: str = "cpu"
) -> nn.Module:
    """The same with whatever numbers are in memory, which takes no time: to count, and to check what fits together.

    Errors: ValueError from a component that cannot be built.
    """
    with torch.device(device), _SkipInit():
        model: nn.Module = config.architecture.build(
            config.parts(), config.build_context(length), vocabulary, n_classes
        )
    return model


class _SkipInit(TorchFunctionMode):
    """Skips the random initialization in torch's own constructors."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def initialize(model: nn.Module, scheme: Initialization, seed: int) -> None:
    """Initialize every weight: linear maps by their role and embeddings by the scheme, others by their own module."""
    for path, module in model.named_modules():
        # The purpose is part of every recorded number, so its spelling stays.
        draw = generator(seed, "initialise", path)
        if isinstance(module, CustomInit):
            module.initialize(draw)
        elif (role := role_of(module)) is not None:
            getattr(scheme, role)(module.weight, draw)
        elif isinstance(module, nn.Embedding):
            scheme.embedding(module.weight, draw)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for module in model.modules():
        if isinstance(module, Block):
            module.post_init()
    scheme.load_pretrained(model)
