"""Direct calls: modules that only infer, without what ``nn.Module`` does to find a weight and around a call.

It looks weights and submodules up in a function of Python, and asks for hooks before each call. Of a training step that
is little; of a decoded token of a small model it is up to a third.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import _has_any_global_hook


@contextmanager
def direct_calls(model: nn.Module) -> Iterator[None]:
    """Inside, weights and submodules are plain attributes, and modules without hooks call their ``forward`` at once.

    For a model that gets neither other weights nor hooks meanwhile. A compiled one is left as it is, as is one that is
    inside already.
    """
    modules = list(model.modules())
    is_left = hasattr(model, "_orig_mod") or any(module._compiled_call_impl is not None for module in modules)
    attributes = {} if is_left else {module: _attributes(module) for module in modules}
    for module, added in attributes.items():
        vars(module).update(added)
    try:
        yield
    finally:
        for module, added in attributes.items():
            for name in added:
                vars(module).pop(name, None)


def _attributes(module: nn.Module) -> dict[str, object]:
    found: dict[str, object] = {**module._modules, **module._parameters}
    if not (module._forward_hooks or module._forward_pre_hooks or _has_any_global_hook()):  # type: ignore[no-untyped-call]
        found["_compiled_call_impl"] = module.forward  # what a module that is called asks for first
    return found
