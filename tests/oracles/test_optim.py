"""Optimizers and schedules against torch, transformers and their formulas."""

import copy
import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.components.base import role_of
from ablation.model.build import build_model
from ablation.optim.decay import decay_groups
from ablation.optim.optimizer import hidden_matrices
from ablation.registry import REGISTRY

OPTIMIZERS, SCHEDULES = REGISTRY["optimizer"], REGISTRY["schedule"]
TOKENS = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def build(configure: Any) -> Any:
    def make(seed: int = 0, **changes: Any) -> nn.Module:
        config = configure({"model.position": "learned", "model.tie_embeddings": False, **changes}).model
        return build_model(config, 11, 12, seed).double()

    return make


def step(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], numbers: Iterable[int] = range(8)
) -> None:
    parameters = list(parameters)
    for number in numbers:
        generator = torch.Generator().manual_seed(number)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        optimizer.step()


def matrices(model: nn.Module) -> set[nn.Parameter]:
    """All weights of a model whose components have none of their own."""
    return {parameter for parameter in model.parameters() if parameter.dim() >= 2}


def same(one: nn.Module, other: nn.Module, atol: float = 1e-12) -> None:
    for (path, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=atol, msg=path)


def built(name: str, model: nn.Module, **hyper: Any) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = OPTIMIZERS[name](name=name, **hyper).build().build(model)
    return optimizer


ORACLES: dict[str, tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adamw": ({"lr": 0.01, "eps": 1e-3}, torch.optim.AdamW, {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-3}),
    "sgd": (
        {"lr": 0.01, "momentum": 0.8, "nesterov": True},
        torch.optim.SGD,
        {"lr": 0.01, "momentum": 0.8, "nesterov": True},
    ),
    "adafactor": (
        {"lr": 0.03, "beta2_decay": -0.6, "clip": 2.0},
        torch.optim.Adafactor,
        {"lr": 0.03, "beta2_decay": -0.6, "d": 2.0},
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_optimizers_equal_torch_with_decay_on_matrices_only(name: str, build: Any) -> None:
    hyper, kind, known = ORACLES[name]
    ours, theirs = build(), build()
    step(built(name, ours, weight_decay=0.3, **hyper), ours.parameters())
    step(kind(decay_groups(theirs.parameters(), 0.3, matrices(theirs)), **known), theirs.parameters())
    same(ours, theirs)
    undecayed = build()
    step(built(name, undecayed, weight_decay=0.0, **hyper), undecayed.parameters())
    for one, other in zip(ours.parameters(), undecayed.parameters(), strict=True):
        assert torch.equal(one, other) == (one.dim() < 2)


def test_lion_is_its_formula(build: Any) -> None:
    """Algorithm 2: c = b1 m + (1 - b1) g; w = w - lr (sign(c) + decay w); m = b2 m + (1 - b2) g."""
    ours, theirs = build(), build()
    step(built("lion", ours, lr=0.01, weight_decay=0.3, betas=(0.8, 0.9)), ours.parameters())
    for number, parameter in enumerate(theirs.parameters()):
        m, w = torch.zeros_like(parameter), parameter.detach().clone()
        for seed in range(8):
            generator = torch.Generator().manual_seed(seed)
            g = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in theirs.parameters()][number]
            c = 0.8 * m + 0.2 * g
            w = w - 0.01 * (c.sign() + (0.3 * w if w.dim() >= 2 else 0))
            m = 0.9 * m + 0.1 * g
        torch.testing.assert_close(list(ours.parameters())[number], w, rtol=0, atol=1e-12)


def test_muon_moves_the_maps_of_blocks_and_adamw_the_rest(build: Any) -> None:
    ours, theirs = build(), build()
    hyper = {"lr": 0.01, "weight_decay": 0.3, "momentum": 0.9, "nesterov": False, "iterations": 4}
    step(built("muon", ours, **hyper, adamw_lr=0.02, scale="jordan"), ours.parameters())
    maps = [p for path, p in theirs.named_parameters() if path.startswith("stack.blocks") and p.dim() == 2]
    rest = [p for p in theirs.parameters() if all(p is not other for other in maps)]
    assert len(maps) == 12 and len(rest) == 2 * 4 + 2 + 3
    muon = torch.optim.Muon(maps, 0.01, 0.3, 0.9, False, ns_steps=4, adjust_lr_fn="original")
    adamw = torch.optim.AdamW(decay_groups(rest, 0.3, matrices(theirs)), 0.02, (0.9, 0.95))
    for number in range(8):
        step(muon, theirs.parameters(), [number])
        adamw.step()
    same(ours, theirs)


def test_muon_updates_are_near_orthogonal_and_scaled_as_adams(build: Any) -> None:
    for scale, size in (
        ("jordan", lambda a, b: math.sqrt(max(1, a / b))),
        ("moonlight", lambda a, b: 0.2 * math.sqrt(max(a, b))),
    ):
        moved, start = build(), build()
        step(built("muon", moved, lr=1.0, weight_decay=0.0, scale=scale), moved.parameters(), [0])
        for after, before in zip(hidden_matrices(moved), hidden_matrices(start), strict=True):
            singular = torch.linalg.svdvals(after - before) / size(*after.shape)
            assert singular.min() > 0.3 and singular.max() < 1.4


def test_hidden_matrices_are_the_linear_maps_of_blocks(build: Any) -> None:
    model = build(**{"model.feedforward": {"name": "moe", "n_experts": 3}, "model.architecture": "encoder_decoder"})
    hidden = {id(weight) for weight in hidden_matrices(model)}
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) or role_of(m) == "lm_head"]
    assert tables and not hidden & {id(table) for table in tables}
    expected = [m.weight for m in model.modules() if isinstance(m, nn.Linear) and role_of(m) != "lm_head"]
    assert hidden == {id(weight) for weight in expected} and len(hidden) == len(hidden_matrices(model))
    assert any(role_of(m) == "router" and id(m.weight) in hidden for m in model.modules())


def soap(weight: nn.Parameter, **hyper: Any) -> torch.optim.Optimizer:
    return built("soap", nn.ParameterList([weight]), decay_on="matrices", **hyper)


def random_matrices(n: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(n)]


def led(optimizer: torch.optim.Optimizer, weight: nn.Parameter, gradients: list[Tensor]) -> Tensor:
    """Where the gradients lead."""
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


HYPER: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.3, "betas": (0.8, 0.9), "eps": 1e-3}


def test_soap_with_trivial_bases_is_adamw_one_step_later(build: Any) -> None:
    ours, theirs = build(), build()
    step(built("soap", ours, **HYPER, largest_side=1), ours.parameters())
    step(built("adamw", theirs, **HYPER), theirs.parameters(), range(1, 8))
    same(ours, theirs)
    gradients = [matrix.diag().diag() for matrix in random_matrices(12, 5, 5)]  # no two rows, no two columns correlate
    weight, other = nn.Parameter(torch.ones(5, 5).double()), nn.Parameter(torch.ones(5, 5).double())
    got = led(soap(weight, **HYPER, every=3), weight, gradients)
    expected = led(torch.optim.AdamW([other], 0.01, (0.8, 0.9), 1e-3, 0.3), other, gradients[1:])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_soap_turns_with_the_gradients_and_adamw_does_not() -> None:
    gradients = random_matrices(12, 5, 5)
    u, v = (torch.linalg.qr(matrix).Q for matrix in random_matrices(2, 5, 5))

    def end(make: Any, turn: bool) -> Tensor:
        weight = nn.Parameter(u @ torch.ones(5, 5).double() @ v if turn else torch.ones(5, 5).double())
        return led(make(weight), weight, [u @ g @ v if turn else g for g in gradients])

    def here(weight: nn.Parameter) -> torch.optim.Optimizer:
        return soap(weight, **HYPER, every=3)

    torch.testing.assert_close(end(here, True), u @ end(here, False) @ v, rtol=0, atol=1e-10)

    def adamw(weight: nn.Parameter) -> torch.optim.Optimizer:
        return torch.optim.AdamW([weight], 0.01)

    assert (end(adamw, True) - u @ end(adamw, False) @ v).abs().max() > 1e-3


def test_soap_is_its_formula() -> None:
    """Algorithm 3 with a refresh at every step, and the bases in the order of their eigenvalues."""
    gradients = random_matrices(7, 4, 3)
    weight = nn.Parameter(torch.ones(4, 3).double())
    got = led(
        soap(weight, lr=0.01, weight_decay=0.3, betas=(0.8, 0.9), basis_beta=0.7, eps=1e-3, every=1), weight, gradients
    )
    w, m, v = torch.ones(4, 3).double(), torch.zeros(4, 3).double(), torch.zeros(4, 3).double()
    left, right = 0.3 * gradients[0] @ gradients[0].T, 0.3 * gradients[0].T @ gradients[0]
    q_left, q_right = torch.linalg.eigh(left)[1].fliplr(), torch.linalg.eigh(right)[1].fliplr()
    for t, g in enumerate(gradients[1:], 1):
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * (q_left.T @ g @ q_right) ** 2
        moved = (q_left.T @ m @ q_right / (1 - 0.8**t)) / ((v / (1 - 0.9**t)) ** 0.5 + 1e-3)
        w = w - 0.01 * (0.3 * w + q_left @ moved @ q_right.T)
        left, right = 0.7 * left + 0.3 * g @ g.T, 0.7 * right + 0.3 * g.T @ g
        rows = (q_left.T @ left @ q_left).diag().argsort(descending=True)
        columns = (q_right.T @ right @ q_right).diag().argsort(descending=True)
        v = v[rows][:, columns]
        q_left = torch.linalg.qr(left @ q_left[:, rows])[0]
        q_right = torch.linalg.qr(right @ q_right[:, columns])[0]
    torch.testing.assert_close(got, w, rtol=0, atol=1e-12)


def test_soap_skips_its_first_step_and_beats_adam_in_a_skewed_bowl() -> None:
    (u, *_), start = torch.linalg.qr(random_matrices(1, 8, 8)[0]), random_matrices(2, 8, 8)[1]
    steep = u @ torch.logspace(0, 4, 8, dtype=torch.float64).diag() @ u.T

    def heights(make: Any) -> list[float]:
        weight = nn.Parameter(start.clone())
        optimizer, found = make(weight), []
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: 1 - number / 200)
        for _ in range(200):
            optimizer.zero_grad()
            height = 0.5 * (weight * (steep @ weight)).sum()
            height.backward()
            found.append(height.item())
            optimizer.step()
            scheduler.step()
        return found

    ours = [heights(lambda weight, lr=lr: soap(weight, lr=lr, weight_decay=0.0)) for lr in (0.1, 0.3)]
    adam = [heights(lambda weight, lr=lr: torch.optim.Adam([weight], lr, (0.95, 0.95))) for lr in (0.1, 0.3, 1.0)]
    assert ours[0][0] == ours[0][1] > ours[0][2]
    assert min(run[-1] for run in ours) < 0.2 * min(run[-1] for run in adam)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_holds_every_parameter_once(name: str, build: Any) -> None:
    model = build()
    ids = [id(parameter) for group in built(name, model).param_groups for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_leaves_alone_what_has_no_gradient(name: str, build: Any) -> None:
    model, before = build(), build()
    moved = dict(model.stack.named_parameters())
    step(built(name, model), moved.values(), range(2))
    for (path, now), then in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(now, then) != (path.removeprefix("stack.") in moved), path


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_resume_from_their_state(name: str, build: Any) -> None:
    whole, first = build(), build()
    step(built(name, whole), whole.parameters(), range(6))
    optimizer = built(name, first)
    step(optimizer, first.parameters(), range(3))
    second = build(seed=1)
    second.load_state_dict(first.state_dict())
    resumed = built(name, second)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(resumed, second.parameters(), range(3, 6))
    same(whole, second, 0.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedule_reaches_every_parameter_also_after_going_on(name: str, build: Any) -> None:
    model = build()
    optimizer = built(name, model)
    optimizer.load_state_dict(optimizer.state_dict())
    start = copy.deepcopy(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: float(number >= 2))
    for number in range(2):
        step(optimizer, model.parameters(), [number])
        scheduler.step()
        same(model, start, 0.0)
    step(optimizer, model.parameters(), [2])
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_call_their_closure_with_gradients_and_learn(name: str, build: Any) -> None:
    model = build()
    optimizer = built(name, model)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
        value.backward()
        return value

    heights = [optimizer.step(loss).item() for _ in range(15)]
    assert heights[-1] < heights[0]


KNOBS: list[tuple[str, dict[str, Any]]] = [
    ("adamw", {"base_width": 64}),
    *(("sgd", knob) for knob in ({"lr": 0.2}, {"momentum": 0.5}, {"nesterov": True}, {"weight_decay": 0.5})),
    *(("lion", knob) for knob in ({"lr": 0.2}, {"weight_decay": 0.1}, {"betas": (0.5, 0.99)}, {"betas": (0.9, 0.5)})),
    *(("adafactor", knob) for knob in ({"lr": 0.2}, {"weight_decay": 0.1}, {"beta2_decay": -0.5}, {"clip": 1.2})),
    *(("muon", knob) for knob in ({"lr": 0.2}, {"weight_decay": 0.5}, {"momentum": 0.5}, {"nesterov": False})),
    *(("muon", knob) for knob in ({"iterations": 3}, {"scale": "jordan"}, {"adamw_lr": 0.1})),
    *(("soap", knob) for knob in ({"lr": 0.2}, {"weight_decay": 0.5}, {"betas": (0.5, 0.95)}, {"betas": (0.9, 0.5)})),
    *(("soap", knob) for knob in ({"basis_beta": 0.5, "every": 2}, {"eps": 1e-3}, {"every": 2}, {"largest_side": 20})),
    *(("muon", knob) for knob in ({"betas": (0.5, 0.95)}, {"betas": (0.9, 0.5)}, {"eps": 1e-3})),
]


@pytest.mark.parametrize(("name", "hyper"), KNOBS)
def test_optimizer_hyperparameters_have_an_effect(name: str, hyper: dict[str, Any], build: Any) -> None:
    default, other = build(), build()
    step(built(name, default), default.parameters(), range(4))
    step(built(name, other, **hyper), other.parameters(), range(4))
    assert any(not torch.equal(a, b) for a, b in zip(default.parameters(), other.parameters(), strict=True))


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        OPTIMIZERS["sgd"](name="sgd", nesterov=True, momentum=0.0).build()


def test_adamw_base_width_scales_steps_of_linear_maps_not_decay(build: Any) -> None:
    """Table 3 of arXiv:2203.03466 for Adam: maps, the readout's too, at lr / fan in, tables and vectors at lr."""
    plain, scaled = build(), build()
    step(built("adamw", plain, weight_decay=0.0), plain.parameters(), [0])
    step(built("adamw", scaled, weight_decay=0.0, base_width=32), scaled.parameters(), [0])
    maps = {id(module.weight) for module in scaled.modules() if isinstance(module, nn.Linear)}
    assert len(maps) > len(hidden_matrices(scaled)), "there is a readout"
    for start, one, other in zip(build().parameters(), plain.parameters(), scaled.parameters(), strict=True):
        share = 32 / other.size(1) if id(other) in maps else 1.0
        torch.testing.assert_close(other - start, (one - start) * share, rtol=1e-6, atol=1e-12)
    groups = built("adamw", scaled, weight_decay=0.1, base_width=32).param_groups
    decays = {round(group["lr"] * group["weight_decay"], 12) for group in groups}
    assert decays == {0.0, 1e-4}


def test_mup_updates_are_alike_at_every_width(configure: Any) -> None:
    """The coordinate check: without it, the change of the stream in one step grows with the width."""

    def change(width: int, **more: Any) -> float:
        changes = {"model.d_model": width, "model.tie_embeddings": False, "model.position": "none"}
        changes["model.initialization"] = "mup"
        model = build_model(configure(changes).model, 11, 12, 0).double()
        streams = []
        model.stack.norm.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0].detach()))
        optimizer = built("adamw", model, lr=1e-2, **more)
        for _ in range(4):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.roll(-1, 1).flatten()).backward()
            optimizer.step()
        return (streams[-1] - streams[0]).square().mean().sqrt().item()

    assert change(512, base_width=128) / change(128, base_width=128) < 1.5
    assert change(512) / change(128) > 2.0


# Schedules


def factors(name: str, n_steps: int, **hyper: Any) -> list[float]:
    schedule = SCHEDULES[name](name=name, **hyper).build()
    return [schedule.factor(number, n_steps) for number in range(n_steps)]


def theirs(make: Any, n_steps: int, **more: Any) -> list[float]:
    """What a schedule of transformers multiplies the learning rate by."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
    return [make(optimizer, **more).lr_lambdas[0](number) for number in range(n_steps)]


@pytest.mark.parametrize("n_warmup", [0, 20])
def test_schedules_are_those_of_transformers_after_the_warm_up(n_warmup: int) -> None:
    from transformers import optimization as hf

    def agree(name: str, make: Any, hyper: dict[str, Any], **more: Any) -> None:
        ours = factors(name, 200, warmup_ratio=n_warmup / 200, **hyper)
        assert ours[n_warmup:] == pytest.approx(
            theirs(make, 200, num_warmup_steps=n_warmup, **more)[n_warmup:], abs=1e-12
        )

    n = {"num_training_steps": 200}
    agree("constant", hf.get_constant_schedule_with_warmup, {})
    agree("linear", hf.get_linear_schedule_with_warmup, {"min_lr_ratio": 0.0}, **n)
    agree("cosine", hf.get_cosine_schedule_with_warmup, {"min_lr_ratio": 0.0}, **n)
    agree("cosine", hf.get_cosine_with_min_lr_schedule_with_warmup, {"min_lr_ratio": 0.1}, **n, min_lr_rate=0.1)
    if n_warmup:
        agree("inverse_sqrt", hf.get_inverse_sqrt_schedule, {})
    n_decay = round(0.3 * (200 - n_warmup))
    for form, kind in (("linear", "linear"), ("cosine", "cosine"), ("one_minus_sqrt", "1-sqrt")):
        for final in (0.0, 0.2):
            more = {"num_decay_steps": n_decay, "decay_type": kind, "min_lr_ratio": final}
            agree(
                "wsd",
                hf.get_wsd_schedule,
                {"decay_ratio": 0.3, "min_lr_ratio": final, "decay_shape": form},
                **n,
                **more,
            )


def test_step_falls_by_gamma_again_and_again() -> None:
    got = factors("step", 110, warmup_ratio=10 / 110, every=0.25, gamma=0.5)
    assert got[10:] == [1.0] * 25 + [0.5] * 25 + [0.25] * 25 + [0.125] * 25


@pytest.mark.parametrize("name", ["wsd", "step"])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("n_steps", [1, 2, 7, 100])
def test_new_schedules_rise_to_one_and_never_again(name: str, warmup_ratio: float, n_steps: int) -> None:
    got = factors(name, n_steps, warmup_ratio=warmup_ratio)
    n_warmup = round(warmup_ratio * n_steps)
    assert got[:n_warmup] == pytest.approx([(number + 1) / n_warmup for number in range(n_warmup)])
    after = got[max(0, n_warmup - 1) :]
    assert max(got) == 1 and after == sorted(after, reverse=True) and min(after) >= 0
    assert 0 <= SCHEDULES[name](name=name, warmup_ratio=warmup_ratio).build().factor(n_steps, n_steps) <= 1


def test_wsd_without_decay_is_constant_or_linear() -> None:
    assert factors("wsd", 50, decay_ratio=0.0) == factors("constant", 50)
    assert factors("wsd", 50, decay_ratio=1.0) == pytest.approx(factors("linear", 50))
