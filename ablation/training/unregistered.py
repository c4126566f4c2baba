"""State that a module or an optimizer keeps besides what torch saves of it.

torch saves parameters, persistent buffers, and what an optimizer holds in ``state`` and ``param_groups``. A component
may as well count steps in an attribute, or hold a tensor that is no buffer.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def unregistered_state(model: nn.Module) -> dict[str, dict[str, Any]]:
    """The buffers of a model that are not persistent, and by its modules their attributes as in ``own_attributes``."""
    saved = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name not in saved}
    of_modules = {path: own_attributes(module) for path, module in model.named_modules()}
    return {"buffers": buffers, "attributes": {path: own for path, own in of_modules.items() if own}}


def load_unregistered_state(model: nn.Module, state: Mapping[str, Mapping[str, Any]]) -> None:
    """Set what ``unregistered_state`` has found in a model of the same kind."""
    buffers = dict(model.named_buffers())
    for name, value in state["buffers"].items():
        _copy(buffers[name], value)
    for path, own in state["attributes"].items():
        set_attributes(model.get_submodule(path), own)


def own_attributes(owner: object) -> dict[str, Any]:
    """The attributes that are a number or a tensor, but no parameter; without the mode of a module."""
    return {name: value for name, value in vars(owner).items() if name != "training" and _is_own(value)}


@torch.no_grad()
def set_attributes(owner: object, own: Mapping[str, Any]) -> None:
    """Set attributes again, tensors in place where they have the same shape, since others may hold them too."""
    for name, value in own.items():
        before = getattr(owner, name, None)
        if isinstance(value, Tensor) and isinstance(before, Tensor) and before.shape == value.shape:
            _copy(before, value)
        else:
            setattr(owner, name, value)


def _copy(before: Tensor, value: Tensor) -> None:
    value = value.to(before.device)
    if not torch.equal(before, value):  # a constant may be a view to which nothing can be copied
        before.copy_(value)


def _is_own(value: object) -> bool:
    return type(value) in (bool, int, float, Tensor) and not (isinstance(value, Tensor) and value.requires_grad)
