"""Direct calls: a model gives what it gave, with its hooks, and is afterwards what it was."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from ablation.model.direct import direct_calls
from ablation.model.generate import SamplingParams, generate

MakeModel = Callable[..., nn.Module]
GREEDY = SamplingParams(temperature=0)
TOKENS = torch.tensor([[1, 2, 3]])


def attributes(model: nn.Module) -> dict[str, set[str]]:
    return {path: set(vars(module)) for path, module in model.named_modules()}


def first_linear(model: nn.Module) -> nn.Linear:
    return next(module for module in model.modules() if isinstance(module, nn.Linear))


def test_modules_are_called_without_what_hooks_and_lookups_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    x = torch.ones(1, 2)
    expected = model(x)

    def not_expected(*arguments: object) -> None:
        raise AssertionError(arguments)

    with direct_calls(model), monkeypatch.context() as patched:
        patched.setattr(nn.Module, "__getattr__", not_expected)
        patched.setattr(nn.Module, "_call_impl", not_expected)
        found = model(x)
    assert torch.equal(found, expected)


def test_model_is_afterwards_what_it_was(make_model: MakeModel) -> None:
    model = make_model()
    before = attributes(model)
    with pytest.raises(ZeroDivisionError), direct_calls(model):
        assert attributes(model) != before
        raise ZeroDivisionError
    assert attributes(model) == before
    linear = first_linear(model)
    linear.weight = nn.Parameter(torch.zeros_like(linear.weight))
    assert not linear.weight.any(), "and takes other weights"


@pytest.mark.parametrize("everywhere", [False, True])
def test_hooks_see_every_token(make_model: MakeModel, everywhere: bool) -> None:
    model = make_model().eval()
    linear = first_linear(model)
    calls: list[Tensor] = []

    def hook(module: nn.Module, arguments: object, output: Tensor) -> None:
        if module is linear:
            calls.append(output)

    handle = register_module_forward_hook(hook) if everywhere else linear.register_forward_hook(hook)
    try:
        generate(model, TOKENS, 4, GREEDY)
    finally:
        handle.remove()
    assert [output.size(1) for output in calls] == [3, 1, 1, 1]


def test_compiled_model_is_left_as_it_is(make_model: MakeModel) -> None:
    whole, part = make_model(), make_model()
    compiled = torch.compile(whole, backend="eager")
    next(part.children()).compile(backend="eager")
    for model in (compiled, part):
        before = attributes(model)
        with direct_calls(model):
            assert attributes(model) == before
        assert attributes(model) == before


def test_direct_calls_inside_others_end_with_those(make_model: MakeModel) -> None:
    model = make_model()
    before = attributes(model)
    with direct_calls(model):
        inside = attributes(model)
        generate(model, TOKENS, 2, GREEDY)
        assert attributes(model) == inside
    assert attributes(model) == before
