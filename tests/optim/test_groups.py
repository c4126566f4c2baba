"""Learning rates for groups of parameters: which parameters a pattern chooses, and how far each moves."""

from typing import Any

import pytest
import torch
from support.small_grids import Ablate, small_config, write_grid
from torch import nn

from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.optim.groups import matching, multipliers
from ablation.registry import REGISTRY


@pytest.fixture
def model() -> nn.Module:
    return build_model(small_config().model, 7, 8, 0).double()


def paths(model: nn.Module, pattern: str) -> list[str]:
    return [each.path for each in matching(model, pattern)]


def test_pattern_is_a_role_or_a_path(model: nn.Module) -> None:
    assert paths(model, "embedding") == ["embedding.table.weight"]
    assert paths(model, "out_projection") == [
        "stack.blocks.0.sublayers.0.out.weight",
        "stack.blocks.0.sublayers.1.down.weight",
    ]
    assert paths(model, "*.query.weight") == ["stack.blocks.0.sublayers.0.query.weight"]
    assert paths(model, "*") == [path for path, _ in model.named_parameters()]


def test_pattern_that_chooses_nothing_is_refused_with_the_nearest(model: nn.Module) -> None:
    with pytest.raises(
        InputError, match=r"'embeding' is not a parameter .* a role \(embedding, .*did you mean 'embedding'"
    ):
        matching(model, "embeding")


def test_factors_of_several_patterns_are_multiplied(model: nn.Module) -> None:
    factors = multipliers(model, {"embedding": 0.5, "*.weight": 0.25, "norm": 3.0})
    assert factors[model.get_parameter("embedding.table.weight")] == 0.125
    assert factors[model.get_parameter("stack.blocks.0.sublayers.1.up.weight")] == 0.25
    assert factors[model.get_parameter("stack.blocks.0.norms.0.bias")] == 3.0


def moved(name: str, by_pattern: dict[str, float], **hyper: Any) -> dict[str, torch.Tensor]:
    """How far one step moves each parameter."""
    model = build_model(small_config().model, 7, 8, 0).double()
    before = {path: parameter.detach().clone() for path, parameter in model.named_parameters()}
    config = REGISTRY["optimizer"][name](name=name, lr_multipliers=by_pattern, **hyper)
    optimizer = config.build().for_model(model)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    for _ in range(2):  # the first step of SOAP moves nothing
        optimizer.step()
    return {path: parameter.detach() - before[path] for path, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", sorted(REGISTRY["optimizer"]))
def test_parameters_move_by_their_multiple(name: str) -> None:
    """Without decay, a step is the learning rate times something that does not depend on it."""
    hyper = {"weight_decay": 0.0} | ({"lr": 1e-3} if name == "adafactor" else {})
    plain = moved(name, {}, **hyper)
    changed = moved(name, {"embedding": 0.25, "*.down.weight": 2.0}, **hyper)
    for path, by in plain.items():
        factor = 0.25 if "embedding" in path else 2.0 if path.endswith("down.weight") else 1.0
        if name == "adafactor" and factor != 1:  # whose second step is relative to the weights that the first made
            torch.testing.assert_close(changed[path], factor * by, rtol=2e-2, atol=1e-9)
        else:
            torch.testing.assert_close(changed[path], factor * by, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(REGISTRY["optimizer"]))
def test_every_parameter_is_in_one_group_and_the_first_rate_is_the_plain_one(name: str, model: nn.Module) -> None:
    config = REGISTRY["optimizer"][name](name=name, lr=0.5, lr_multipliers={"*.weight": 0.25})
    groups = config.build().for_model(model).param_groups
    in_groups = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(in_groups) == sorted(map(id, model.parameters()))
    assert groups[0]["lr"] == 0.5
    assert {group["lr"] for group in groups if group["params"]} == {0.125, 0.5}


def test_rates_of_width_are_multiplied_too(model: nn.Module) -> None:
    config = REGISTRY["optimizer"]["adamw"](name="adamw", lr=0.5, base_width=4, lr_multipliers={"*.up.weight": 0.5})
    rates = {id(p): group["lr"] for group in config.build().for_model(model).param_groups for p in group["params"]}
    assert rates[id(model.get_parameter("stack.blocks.0.sublayers.1.up.weight"))] == 0.5 * 0.5 * 4 / 8
    assert rates[id(model.get_parameter("stack.blocks.0.sublayers.0.query.weight"))] == 0.5 * 4 / 8


def test_plan_refuses_a_pattern_that_chooses_nothing(ablate: Ablate, tmp_path: Any) -> None:
    grid = write_grid(tmp_path, {"optimizer.lr_multipliers": [{}, {"embeding": 0.1}]})
    refused = ablate("plan", grid)
    assert refused.code == 2
    assert "optimizer.lr_multipliers: 'embeding' is not a parameter" in refused.err
    assert "did you mean 'embedding'" in refused.err
    assert ablate("plan", write_grid(tmp_path, {"optimizer.lr_multipliers": [{}, {"embedding": 0.1}]})).code == 0
