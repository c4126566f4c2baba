"""The mixture of experts against transformers, the dense feedforward and its formulas; its losses; its costs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.components.base import BuildContext, role_of
from ablation.components.context import ForwardContext, SharedTensors
from ablation.components.feedforward import GLU, MLP, MixtureOfExperts
from ablation.components.position.base import Position
from ablation.model.build import build_uninitialized
from ablation.registry import REGISTRY

SHAPE = BuildContext(d_model=16, n_layers=3, n_heads=4, n_kv_heads=4, max_length=12)
X = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
Y = X.roll(1, 0).cos()


def close(one: Tensor, other: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def make(name: str, **hyper: Any) -> Any:
    """Every parameter drawn wide, in float64."""
    module = REGISTRY["feedforward"][name](name=name, **hyper).build(SHAPE).double()
    for seed, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return module


def context(padding: Tensor | None = None, losses: list[Tensor] | None = None) -> ForwardContext:
    positions = torch.arange(12)
    mask = torch.ones(1, 1, 12, 12, dtype=torch.bool).tril()
    return ForwardContext(
        Position(SHAPE), positions, positions, mask, causal=True, padding=padding, losses=losses, shared=SharedTensors()
    )


def mapped(ours: MixtureOfExperts, experts: nn.Module, router: nn.Module) -> None:
    """Our weights into those of transformers, which keeps all experts in one tensor."""
    gates_and_ups = [torch.cat([expert.gate.weight, expert.up.weight]) for expert in ours.experts]
    experts.load_state_dict(
        {
            "gate_up_proj": torch.stack(gates_and_ups),
            "down_proj": torch.stack([expert.down.weight for expert in ours.experts]),
        }
    )
    router.load_state_dict({"weight": ours.router.weight})


def mixture(**hyper: Any) -> Any:
    return make("moe", **{"expert": REGISTRY["feedforward"]["glu"](name="glu"), **hyper})


@pytest.mark.parametrize("top_k", [2, 3])
def test_mixture_is_that_of_mixtral(top_k: int) -> None:
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    ours = mixture(n_experts=5, top_k=top_k)
    sizes = {"hidden_size": 16, "intermediate_size": ours.experts[0].up.out_features}
    theirs = MixtralSparseMoeBlock(MixtralConfig(**sizes, num_local_experts=5, num_experts_per_tok=top_k)).double()
    mapped(ours, theirs.experts, theirs.gate)
    y = ours(X, context())
    close(y, theirs.eval()(X), 1e-5 * y.abs().max().item())  # their router computes in float32


@pytest.mark.parametrize("renormalize", [False, True])
def test_mixture_is_that_of_qwen3(renormalize: bool) -> None:
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

    ours = mixture(n_experts=5, top_k=2, renormalize=renormalize)
    sizes = {"hidden_size": 16, "moe_intermediate_size": ours.experts[0].up.out_features}
    choice = {"num_experts": 5, "num_experts_per_tok": 2, "norm_topk_prob": renormalize}
    theirs = Qwen3MoeSparseMoeBlock(Qwen3MoeConfig(**sizes, **choice)).double()
    mapped(ours, theirs.experts, theirs.gate)
    y = ours(X, context())
    close(y, theirs.eval()(X), 1e-5 * y.abs().max().item())


def test_mixture_is_its_formula_to_the_last_digits_backward_too() -> None:
    ours = mixture(n_experts=5, top_k=2, renormalize=False)
    p = (X @ ours.router.weight.T).softmax(-1)
    kept = p * (p >= p.topk(2).values[..., -1:])
    dense = torch.stack([expert(X, None) for expert in ours.experts], -1) @ kept.unsqueeze(-1)
    close(ours(X, context()), dense.squeeze(-1), 1e-11)
    sparse, expected = (
        torch.autograd.grad((y * Y).sum(), list(ours.parameters())) for y in (ours(X, context()), dense.squeeze(-1))
    )
    for one, other in zip(sparse, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [MLP, GLU])
def test_equal_experts_equal_the_dense_feedforward(kind: type[nn.Module]) -> None:
    dense = make(kind.__name__.lower())
    expert = REGISTRY["feedforward"][kind.__name__.lower()](name=kind.__name__.lower())
    for n_experts, top_k in ((1, 1), (4, 2), (4, 4)):
        ours = mixture(n_experts=n_experts, top_k=top_k, expert=expert)
        for copy in ours.experts:
            copy.load_state_dict(dense.state_dict())
        torch.testing.assert_close(ours(X, context()), dense(X, None), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padded", [False, True])
def test_losses_of_a_mixture_are_those_of_mixtral_and_st_moe(padded: bool) -> None:
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    padding = torch.arange(12) < torch.tensor([[12], [7], [3]]) if padded else None
    real = X if padding is None else X[padding][None]

    def loss(balance: float, z: float) -> Tensor:
        losses: list[Tensor] = []
        ours = mixture(n_experts=5, top_k=2, aux_loss_coef=balance, router_z_loss_coef=z)
        ours.eval()(X, context(padding, losses))
        assert losses == [], "only in training"
        ours.train()(X, context(padding, losses))
        ours(X, context(padding))
        scores.append(ours.router(X).flatten(0, 1))
        close(
            losses[0],
            mixture(n_experts=5, top_k=2, aux_loss_coef=balance, router_z_loss_coef=z).loss(*parts(ours, real), None),
        )
        return losses[0]

    def parts(ours: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = ours.router(x).flatten(0, 1)
        return found, found.softmax(-1), found.topk(2).indices

    scores: list[Tensor] = []
    balance, z = loss(0.5, 0.0), loss(0.0, 0.25)
    expected = load_balancing_loss_func((scores[0],), 5, 2, None if padding is None else padding.int())
    close(balance, 0.5 * expected.double(), 1e-6)
    kept = scores[1] if padding is None else scores[1][padding.flatten()]
    close(z, 0.25 * kept.exp().sum(-1).log().square().mean(), 1e-10)


def test_balance_is_smallest_where_all_experts_are_used_alike() -> None:
    ours = mixture(n_experts=4, top_k=2, aux_loss_coef=0.01, router_z_loss_coef=0.0)
    alike = torch.tensor([[0, 1], [2, 3]])
    close(
        ours.loss(torch.zeros(2, 4).double(), torch.full((2, 4), 0.25).double(), alike, None),
        torch.tensor(0.02, dtype=torch.float64),
    )
    assert len(list(ours.router.parameters())) == 1 and role_of(ours.router) == "router"


def test_invalid_mixture_is_refused() -> None:
    with pytest.raises(ValueError, match="top_k 3 is more than n_experts 2"):
        mixture(n_experts=2, top_k=3)
    with pytest.raises(ValueError, match="renormalize: false"):
        mixture(n_experts=2, top_k=1)
    mixture(n_experts=2, top_k=1, renormalize=False)


def test_nested_mixture_receives_the_padding() -> None:
    inner = REGISTRY["feedforward"]["moe"](name="moe", n_experts=2, expert=REGISTRY["feedforward"]["glu"](name="glu"))
    ours = MixtureOfExperts(SHAPE, n_experts=3, top_k=2, expert=inner).double().train()
    padding, losses = torch.arange(12) < torch.tensor([[12], [7], [3]]), []
    ours(X, context(padding, losses))
    ours(X * padding.unsqueeze(-1), context(padding, again := []))
    assert len(losses) == len(again) == 4
    close(torch.stack(losses), torch.stack(again))


def test_mixture_is_counted_as_what_one_token_goes_through(configure: Any) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(**hyper: Any) -> int:
        config = configure({"model.feedforward": {"name": "moe", **hyper}}).model
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            build_uninitialized(config, 11, 12, device="meta").eval()(
                torch.empty(1, 12, dtype=torch.long, device="meta")
            )
        return int(counter.get_total_flops())

    one_expert = 2 * 2 * 2 * 12 * 16 * 64  # layers, maps, multiply and add, tokens, widths
    assert flops(n_experts=4, top_k=3) - flops(n_experts=4, top_k=2) == one_expert
    assert flops(n_experts=8) - flops(n_experts=4) == 2 * 2 * 12 * 16 * 4, "only the router grows"
