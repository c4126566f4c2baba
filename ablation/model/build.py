"""A model out of its configuration, every weight drawn from the seed and its own path."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, nn
from torch.overrides import TorchFunctionMode

from ..components.architecture.stack import LMHeadWithTable
from ..components.base import ClassHead, OutProjection, UnscaledQuery
from ..components.block import Block
from ..components.initialization import Initialization
from ..rng import derive, generator
from .config import ModelConfig


@runtime_checkable
class CustomInit(Protocol):
    """A component that draws the parameters it holds directly, once, from the generator it is given."""

    def initialize(self, generator: Generator) -> None: ...


def build_model(
    config: ModelConfig, vocabulary: int, length: int, seed: int, n_classes: int | None = None
) -> nn.Module:
    """The Transformer for texts of ``length`` tokens out of ``vocabulary``, ready to train; or to tell ``n_classes``.

    Two models that share a tensor, by path and shape, start with the same numbers in it, whatever else differs.
    """
    shape = config.shape(length)
    with torch.random.fork_rng(devices=[]):  # constructors may draw what is overwritten below
        torch.default_generator.manual_seed(derive(seed, "build"))  # torch.manual_seed would seed accelerators as well
        model: nn.Module = config.architecture.build(config, shape, vocabulary, n_classes)
    initialize(model, config.initialization.build(shape), seed)
    return model


def build_uninitialized(
    config: ModelConfig, vocabulary: int, length: int, n_classes: int | None = None, device: str = "cpu"
) -> nn.Module:
    """The same in no time, with whatever numbers are in memory: to count, and to find out what cannot be combined.

    Errors: ValueError from a component that cannot be built.
    """
    with torch.device(device), _SkipInit():
        model: nn.Module = config.architecture.build(config, config.shape(length), vocabulary, n_classes)
    return model


class _SkipInit(TorchFunctionMode):
    """Leaves out the draws of torch's own constructors."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_", "xavier_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def initialize(model: nn.Module, scheme: Initialization, seed: int) -> None:
    """Draw every weight anew: linear maps and embeddings by the scheme, others by the component that holds them."""
    readouts = [module.table for module in model.modules() if isinstance(module, LMHeadWithTable)]
    for path, module in model.named_modules():
        draw = generator(seed, "initialise", path)
        if isinstance(module, CustomInit):
            module.initialize(draw)
        elif isinstance(module, OutProjection):
            scheme.out_projection(module.weight, draw)
        elif isinstance(module, UnscaledQuery):
            scheme.unscaled_query(module.weight, module.d_head, draw)
        elif isinstance(module, ClassHead):
            scheme.classes(module.weight, draw)
        elif module in readouts:
            scheme.readout(module.weight, draw)
        elif isinstance(module, nn.Linear):
            scheme.linear(module.weight, draw)
        elif isinstance(module, nn.Embedding):
            scheme.embedding(module.weight, draw)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for module in model.modules():
        if isinstance(module, Block):
            module.post_init()
    scheme.load_pretrained(model)
