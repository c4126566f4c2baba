"""Optimizers and schedules: the contract of each that is registered, and each against torch or its formula."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ablation.optim.optimizer import AdamW
from ablation.registry import REGISTRY

OPTIMIZERS, SCHEDULES = REGISTRY["optimizer"], REGISTRY["schedule"]
FALLING = [name for name in SCHEDULES if name != "constant"]


def parameters() -> nn.ParameterList:
    """A table, a matrix, a gain, a scalar, a stack of matrices; of no block: Muon's are in oracles/test_optim.py."""
    generator = torch.Generator().manual_seed(0)
    sizes: list[tuple[int, ...]] = [(5, 3), (3, 4), (4,), (), (2, 3, 3)]
    return nn.ParameterList(nn.Parameter(torch.randn(size, generator=generator).double()) for size in sizes)


def step(optimizer: torch.optim.Optimizer, moved: nn.ParameterList, numbers: range) -> None:
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        for parameter in moved:
            parameter.grad = torch.randn(parameter.shape, generator=generator).double()
        optimizer.step()


@pytest.mark.parametrize("hyper", [{}, {"lr": 0.1, "weight_decay": 0.5, "betas": (0.5, 0.6), "eps": 1e-2}])
def test_adamw_is_that_of_torch_with_decay_on_matrices_only(hyper: dict[str, Any]) -> None:
    ours, theirs = parameters(), parameters()
    known = {"lr": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-8, **hyper}
    groups = [
        {"params": [theirs[0], theirs[1], theirs[4]], "weight_decay": known.pop("weight_decay")},
        {"params": [theirs[2], theirs[3]], "weight_decay": 0.0},
    ]
    step(OPTIMIZERS["adamw"](name="adamw", decay_on="matrices", **hyper).build().build(ours), ours, range(20))
    step(torch.optim.AdamW(groups, **known, foreach=False, fused=False), theirs, range(20))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_zero_gradient_shrinks_matrices_and_keeps_vectors() -> None:
    moved, before = parameters(), parameters()
    optimizer = AdamW(lr=0.1, weight_decay=0.5, decay_on="matrices").build(moved)
    for parameter in moved:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, start in zip(moved, before, strict=True):
        torch.testing.assert_close(parameter, start * (0.95 if start.dim() >= 2 else 1.0))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_of_a_model_is_in_one_group(name: str, make_model: Any) -> None:
    model = make_model({"model.position": "t5"})
    built = OPTIMIZERS[name](name=name, weight_decay=0.1, decay_embeddings=False).build().build(model)
    found = [id(parameter) for group in built.param_groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in model.parameters())
    spared = {id(p) for group in built.param_groups if not group["weight_decay"] for p in group["params"]}
    kept = {path for path, parameter in model.named_parameters() if id(parameter) in spared}
    norms = {path for path, _ in model.named_parameters() if "norm" in path}
    assert kept == norms | {"stack.position.table", "embedding.table.weight"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down_a_bowl(name: str) -> None:
    moved = parameters()
    optimizer = OPTIMIZERS[name](name=name).build().build(moved)
    heights = []
    for _ in range(30):
        optimizer.zero_grad()
        height = torch.stack([parameter.square().sum() for parameter in moved]).sum()
        heights.append(height.item())
        height.backward()
        optimizer.step()
    assert heights[-1] < heights[15] < heights[0]
    assert all(not torch.equal(parameter, start) for parameter, start in zip(moved, parameters(), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_resume_from_their_state(name: str) -> None:
    whole, first = parameters(), parameters()
    config = OPTIMIZERS[name](name=name)
    step(config.build().build(whole), whole, range(6))
    optimizer = config.build().build(first)
    step(optimizer, first, range(3))
    second = nn.ParameterList(nn.Parameter(parameter.detach().clone()) for parameter in first)
    resumed = config.build().build(second)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(resumed, second, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(whole, second, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_follows_a_schedule(name: str) -> None:
    """A learning rate of nothing moves nothing."""
    moved = parameters()
    optimizer = OPTIMIZERS[name](name=name).build().build(moved)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 0.0)
    step(optimizer, moved, range(2))
    assert all(torch.equal(parameter, start) for parameter, start in zip(moved, parameters(), strict=True))


def factors(name: str, n_steps: int, **hyper: float) -> list[float]:
    schedule = SCHEDULES[name](name=name, **hyper).build()
    return [schedule.factor(step, n_steps) for step in range(n_steps)]


@pytest.mark.parametrize("name", SCHEDULES)
@given(n_steps=st.integers(1, 300), warmup_ratio=st.floats(0, 1))
def test_every_schedule_rises_linearly_to_one_and_never_again(name: str, n_steps: int, warmup_ratio: float) -> None:
    got, n_warmup = factors(name, n_steps, warmup_ratio=warmup_ratio), round(warmup_ratio * n_steps)
    assert 0 < got[0] <= 1
    assert max(got) == 1
    assert got[:n_warmup] == pytest.approx([(step + 1) / n_warmup for step in range(n_warmup)])
    after = got[max(0, n_warmup - 1) :]
    assert after == sorted(after, reverse=True)
    assert min(after) >= 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_defined_one_step_past_the_last(name: str) -> None:
    for warmup_ratio in (0.0, 0.5, 1.0):
        last = SCHEDULES[name](name=name, warmup_ratio=warmup_ratio).build().factor(10, 10)
        assert 0 <= last <= 1


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("name", [name for name in SCHEDULES if "min_lr_ratio" in SCHEDULES[name].hyperparameters()])
def test_schedules_end_at_min_lr_ratio(name: str, final: float) -> None:
    schedule = SCHEDULES[name](name=name, warmup_ratio=0.1, min_lr_ratio=final).build()
    assert schedule.factor(10_000, 10_000) == pytest.approx(final)
    assert schedule.factor(9_999, 10_000) == pytest.approx(final, abs=2e-3)


@pytest.mark.parametrize("name", FALLING)
def test_schedules_with_decay_decrease(name: str) -> None:
    assert factors(name, 100, warmup_ratio=0.1)[-1] < 0.5


@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.0}, {"warmup_ratio": 0.2}, {"warmup_steps": 5}], ids=str)
@pytest.mark.parametrize("name", SCHEDULES)
def test_shared_steps_have_the_same_factors_in_every_longer_run(name: str, warmup: dict[str, Any]) -> None:
    schedule = SCHEDULES[name](name=name, **warmup).build()
    for n_steps in range(1, 30):
        shared = schedule.shared_steps(n_steps)
        assert 0 <= shared <= n_steps
        first = [schedule.factor(step, n_steps) for step in range(shared)]
        for longer in (n_steps + 1, n_steps + 7, 10 * n_steps):
            assert [schedule.factor(step, longer) for step in range(shared)] == first


def test_schedules_without_an_end_share_all_steps() -> None:
    for name, after in (("constant", 25), ("inverse_sqrt", 25), ("wsd", 20), ("step", 8), ("cosine", 0), ("linear", 0)):
        in_steps, by_ratio = (
            SCHEDULES[name](name=name, **warmup).build() for warmup in ({"warmup_steps": 5}, {"warmup_ratio": 0.2})
        )
        assert in_steps.shared_steps(30) == (5 + after if after else 0), name
        assert by_ratio.shared_steps(30) == 0
        assert in_steps.shared_steps(4) == 0, "the warm-up is cut short"


def test_formulas_of_the_schedules() -> None:
    for i in range(1, 90):  # steps after the 10 of the warm-up
        step, share = 10 + i, i / 90
        assert factors("constant", 100, warmup_ratio=0.1)[step] == 1
        assert factors("linear", 100, warmup_ratio=0.1, min_lr_ratio=0.2)[step] == pytest.approx(
            0.2 * share + 1 - share
        )
        cosine = 0.2 + 0.8 * (1 + math.cos(math.pi * share)) / 2
        assert factors("cosine", 100, warmup_ratio=0.1, min_lr_ratio=0.2)[step] == pytest.approx(cosine)
        assert factors("inverse_sqrt", 100, warmup_ratio=0.1)[step] == pytest.approx(math.sqrt(10 / (10 + i)))


def test_inverse_sqrt_is_the_formula_of_the_attention_paper() -> None:
    """min(s^-0.5, s * w^-1.5) of section 5.3, as a share of its peak; here the step after the peak is as high."""
    got, w = factors("inverse_sqrt", 200, warmup_ratio=0.2), 40
    paper = [min(s**-0.5, s * w**-1.5) * w**0.5 for s in range(1, 201)]
    assert got[:w] == pytest.approx(paper[:w])
    assert got[w + 1 :] == pytest.approx(paper[w:-1])
