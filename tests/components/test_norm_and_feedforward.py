"""Norms and feedforwards against torch and against their formulas; each works on one token alone."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablation.components.base import BuildContext, role_of
from ablation.components.context import ForwardContext, SharedTensors
from ablation.components.feedforward import ACTIVATIONS, GLU, MLP
from ablation.components.norm import LayerNorm, NoNorm, RMSNorm
from ablation.components.position.base import Position
from ablation.registry import REGISTRY

ORACLES = {
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "squared_relu": lambda x: x.clamp(min=0) ** 2,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "identity": lambda x: x,
}


def shape(d_model: int = 16, dropout: float = 0.0) -> BuildContext:
    return BuildContext(d_model=d_model, n_layers=2, n_heads=4, n_kv_heads=4, max_length=12, dropout=dropout)


def randomized(module: nn.Module) -> Any:
    """Every parameter random and of some size, in float64."""
    module.double()
    for seed, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return module


X = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def looking(n_tokens: int = 5) -> ForwardContext:
    """What the sublayers of a causal model know about their tokens."""
    positions = torch.arange(n_tokens)
    mask = torch.ones(1, 1, n_tokens, n_tokens, dtype=torch.bool).tril()
    return ForwardContext(Position(shape()), positions, positions, mask, causal=True, shared=SharedTensors())


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_layer_norm_is_its_formula_and_that_of_torch(eps: float) -> None:
    norm = randomized(LayerNorm(shape(), eps=eps))
    mean = X.mean(-1, keepdim=True)
    variance = (X - mean).square().mean(-1, keepdim=True)
    expected = (X - mean) / (variance + eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(norm(X), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(norm(X), F.layer_norm(X, (16,), norm.weight, norm.bias, eps), rtol=0, atol=1e-12)


@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_rms_norm_is_its_formula_and_that_of_torch(eps: float) -> None:
    norm = randomized(RMSNorm(shape(), eps=eps))
    expected = X / (X.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight
    torch.testing.assert_close(norm(X), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(norm(X), F.rms_norm(X, (16,), norm.weight, eps), rtol=0, atol=1e-12)
    assert [path for path, _ in norm.named_parameters()] == ["weight"]


def test_none_norm_is_the_identity() -> None:
    norm = NoNorm(shape())
    assert norm(X) is X
    assert not list(norm.parameters())


@pytest.mark.parametrize("name", REGISTRY["norm"])
def test_gradients_of_every_norm_are_those_of_what_it_computes(name: str) -> None:
    norm = randomized(REGISTRY["norm"][name](name=name).build(shape())).train()
    parameters = list(norm.parameters())
    x = X[:2, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), (x, *parameters))


@pytest.mark.parametrize("slot", ["norm", "feedforward"])
def test_each_token_is_worked_on_alone_in_training_too(slot: str) -> None:
    """Neither the size of the batch nor its other tokens matter: a BatchNorm would leak the future."""
    for name, config in REGISTRY[slot].items():
        if name in ("batch_norm", "none"):  # the one looks across tokens and says so, the other is never called
            continue
        module = randomized(config(name=name).build(shape())).train()
        together = module(X, *(() if slot == "norm" else (looking(),)))
        for text in range(3):
            for token in range(5):
                context = () if slot == "norm" else (looking(1),)
                alone = module(X[text : text + 1, token : token + 1], *context)[0, 0]
                torch.testing.assert_close(alone, together[text, token], rtol=0, atol=1e-12)


def test_every_activation_has_an_oracle() -> None:
    assert ACTIVATIONS.keys() == ORACLES.keys()


@pytest.mark.parametrize("activation", ORACLES)
def test_every_activation_is_its_formula(activation: str) -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS[activation](x), ORACLES[activation](x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ORACLES)
def test_mlp_is_its_formula(activation: Any, bias: bool) -> None:
    mlp = randomized(MLP(shape(), activation=activation, expansion=3.0, bias=bias))
    assert mlp.up.weight.shape == (48, 16)
    b1, b2 = (mlp.up.bias, mlp.down.bias) if bias else (0, 0)
    expected = ORACLES[activation](X @ mlp.up.weight.T + b1) @ mlp.down.weight.T + b2
    torch.testing.assert_close(mlp(X, None), expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ORACLES)
def test_glu_is_its_formula(activation: Any, bias: bool) -> None:
    glu = randomized(GLU(shape(), activation=activation, bias=bias))
    b1, b2, b3 = (glu.gate.bias, glu.up.bias, glu.down.bias) if bias else (0, 0, 0)
    gate = ORACLES[activation](X @ glu.gate.weight.T + b1)
    expected = (gate * (X @ glu.up.weight.T + b2)) @ glu.down.weight.T + b3
    torch.testing.assert_close(glu(X, None), expected)


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_glu_holds_the_parameters_of_the_mlp_within_two_percent() -> None:
    with torch.device("meta"):
        for d_model in range(64, 1025):
            glu, mlp = GLU(shape(d_model)), MLP(shape(d_model))
            assert n_parameters(glu) == pytest.approx(n_parameters(mlp), rel=0.02), d_model
            assert glu.up.out_features % 8 == 0


FEEDFORWARDS = [name for name in REGISTRY["feedforward"] if name != "none"]


@pytest.mark.parametrize("name", FEEDFORWARDS)
def test_feedforward_is_never_empty(name: str) -> None:
    kinds = REGISTRY["feedforward"]
    hyper: dict[str, Any] = {"expansion": 1e-3}
    if name == "moe":  # as wide as its experts are
        hyper = {"expert": kinds["mlp"](name="mlp", expansion=1e-3)}
    module = kinds[name](name=name, **hyper).build(shape())
    assert all(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", FEEDFORWARDS)
def test_feedforward_dropout_acts_on_the_hidden_features(name: str) -> None:
    feedforward = randomized(REGISTRY["feedforward"][name](name=name).build(shape(dropout=0.5)))
    hidden: list[Tensor] = []
    downs = [module for path, module in feedforward.named_modules() if path.split(".")[-1] == "down"]
    assert downs and all(role_of(down) == "out_projection" for down in downs)
    for down in downs:  # one, or one of each expert
        down.register_forward_pre_hook(lambda module, inputs: hidden.append(inputs[0].flatten(0, -2)))
    feedforward.eval()(X, looking())
    feedforward.train()(X, looking())
    assert len(hidden) == 2 * len(downs)
    kept, dropped = torch.cat(hidden[: len(downs)]), torch.cat(hidden[len(downs) :])
    zeroed = dropped == 0
    assert zeroed.double().mean() == pytest.approx(0.5, abs=0.1)
    torch.testing.assert_close(dropped[~zeroed], 2 * kept[~zeroed])
