"""Blocks against their equations written out and against torch's own layers; where dropout falls and where not."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ablation.components.architecture.masks import causal_context
from ablation.components.base import BuildContext
from ablation.components.block import Block
from ablation.components.residual import Residual
from ablation.registry import REGISTRY

Function = Callable[[Tensor], Tensor]
Residuals = Sequence[Residual]
BLOCKS = REGISTRY["block"]
RESIDUALS = REGISTRY["residual"]
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))


def pre_norm(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    y = r[0](x, f(n[0](r[0].read(x))))
    return r[1](y, g(n[1](r[1].read(y))))


def post_norm(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    y = n[0](r[0](x, f(r[0].read(x))))
    return n[1](r[1](y, g(r[1].read(y))))


def sandwich(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    y = r[0](x, n[1](f(n[0](r[0].read(x)))))
    return r[1](y, n[3](g(n[2](r[1].read(y)))))


def parallel(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    assert len(r) == 1
    h = n[0](r[0].read(x))
    return r[0](x, f(h) + g(h))


def deepnorm(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    y = n[0](r[0](math.sqrt(2) * x, f(r[0].read(x))))  # two layers of two sublayers: 4 ** (1/4)
    return n[1](r[1](math.sqrt(2) * y, g(r[1].read(y))))


def branch_norm(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    y = r[0](x, n[0](f(r[0].read(x))))
    return r[1](y, n[1](g(r[1].read(y))))


def layer_norm_scaling(x: Tensor, f: Function, g: Function, n: Sequence[Function], r: Residuals) -> Tensor:
    y = r[0](x, f(n[0](r[0].read(x)) / math.sqrt(2)))  # in the second layer
    return r[1](y, g(n[1](r[1].read(y)) / math.sqrt(2)))


EQUATIONS = {
    "pre_norm": pre_norm,
    "post_norm": post_norm,
    "deepnorm": deepnorm,
    "sandwich": sandwich,
    "branch_norm": branch_norm,
    "layer_norm_scaling": layer_norm_scaling,
    "parallel": parallel,
}


class Map(nn.Linear):
    """A sublayer that looks at nothing else."""

    def forward(self, x: Tensor, context: Any) -> Tensor:
        return super().forward(x).tanh()


def randomized(modules: nn.Module) -> Any:
    for seed, parameter in enumerate(modules.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return modules.double()


def build(name: str, *sublayers: nn.Module, dropout: float = 0.0, residual: str = "plain") -> Block:
    shape = BuildContext(d_model=8, n_layers=2, n_heads=2, n_kv_heads=2, max_length=4, dropout=dropout, layer=1)
    join = RESIDUALS[residual](name=residual)
    block: Block = BLOCKS[name](name=name).build(shape, sublayers, lambda: nn.LayerNorm(8), lambda: join.build(shape))
    return randomized(block)


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_its_equation(name: str, residual: str) -> None:
    assert name in EQUATIONS, "write its equation out here"
    f, g = Map(8, 8), Map(8, 8)
    block = build(name, f, g, residual=residual)
    for number, norm in enumerate(block.norms):  # no two alike
        norm.weight.data *= number + 1
        norm.bias.data += number
    joins = [join.residual for join in block.residuals]
    x = joins[0].expand(torch.randn(2, 4, 8, dtype=torch.float64))
    x = x + torch.randn(x.shape, dtype=torch.float64)  # no two streams alike either
    expected = EQUATIONS[name](x, lambda x: f(x, None), lambda x: g(x, None), block.norms, joins)
    torch.testing.assert_close(block(x, None), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_takes_more_sublayers_than_two(name: str) -> None:
    """As those of a decoder that listens to an encoder; every one of them has its say."""
    block = build(name, Map(8, 8), Map(8, 8), Map(8, 8))
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    before = block(x, None)
    for sublayer in block.sublayers:
        sublayer.weight.data.mul_(2)
        assert not torch.allclose(block(x, None), before)
        sublayer.weight.data.div_(2)
    torch.testing.assert_close(block(x, None), before)


@pytest.mark.parametrize("name", BLOCKS)
def test_sublayers_see_the_context(name: str) -> None:
    class Shift(nn.Module):
        def forward(self, x: Tensor, context: float) -> Tensor:
            return x.tanh() + context * torch.arange(8)

    block, x = build(name, Shift(), Shift()), torch.randn(2, 4, 8, dtype=torch.float64)
    assert not torch.allclose(block(x, 0.0), block(x, 1.0))


@pytest.mark.parametrize("name", BLOCKS)
def test_dropout_acts_on_sublayer_outputs_not_on_the_stream(name: str) -> None:
    """With everything dropped the block is the one whose sublayers say nothing."""
    silent = [Map(8, 8), Map(8, 8)]
    block, silenced = build(name, Map(8, 8), Map(8, 8), dropout=1.0).train(), build(name, *silent)
    for norms in (block.norms, silenced.norms):
        for norm in norms:
            nn.init.zeros_(norm.bias)
    for sublayer in silent:
        nn.init.zeros_(sublayer.weight)
        nn.init.zeros_(sublayer.bias)
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x, None), silenced(x, None), rtol=0, atol=1e-12)
    assert not torch.allclose(block.eval()(x, None), silenced(x, None))


@pytest.mark.parametrize("name", [name for name in BLOCKS if BLOCKS[name].component.norm_at_end])
def test_stream_is_unchanged_when_everything_is_dropped(name: str, make_model: Any) -> None:
    model = make_model({"model.block": name, "model.position": "none", "model.dropout": 0.1}).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 1.0
    table = model.embedding.table
    assert torch.equal(model(TOKENS), model.stack.norm(table(TOKENS)) @ table.weight.T)


def test_dropout_is_after_sublayers_and_in_the_feedforward_only(make_model: Any) -> None:
    model = make_model({"model.dropout": 0.3, "model.n_layers": 1})
    dropouts = {path: module.p for path, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert dropouts == {"stack.blocks.0.dropout": 0.3, "stack.blocks.0.sublayers.1.dropout": 0.3}


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("block", ["pre_norm", "post_norm"])
def test_stack_of_blocks_is_that_of_torch(block: str, activation: str, make_model: Any) -> None:
    """torch.nn.TransformerEncoder under a causal mask, every weight, gain and shift carried over."""
    feedforward = {"name": "mlp", "activation": activation, "expansion": 4, "bias": True}
    mixer = {"name": "attention", "bias": True}
    changes = {"model.block": block, "model.feedforward": feedforward, "model.mixer": mixer, "model.position": "none"}
    model = make_model(changes)
    sizes = {"d_model": 16, "nhead": 4, "dim_feedforward": 64, "dropout": 0.0}
    first = block == "pre_norm"
    layer = nn.TransformerEncoderLayer(**sizes, activation=activation, batch_first=True, norm_first=first).double()
    oracle = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16).double() if first else None, enable_nested_tensor=False)
    for ours, theirs in zip(model.stack.blocks, oracle.layers, strict=True):
        attention, mlp = ours.sublayers
        maps = (attention.query, attention.key, attention.value)
        carry_over(
            theirs,
            {
                "self_attn.in_proj_weight": torch.cat([linear.weight for linear in maps]),
                "self_attn.in_proj_bias": torch.cat([linear.bias for linear in maps]),
                **{f"self_attn.out_proj.{key}": value for key, value in attention.out.state_dict().items()},
                **{f"linear1.{key}": value for key, value in mlp.up.state_dict().items()},
                **{f"linear2.{key}": value for key, value in mlp.down.state_dict().items()},
                **{f"norm{n + 1}.{key}": v for n in (0, 1) for key, v in ours.norms[n].state_dict().items()},
            },
        )
        x = torch.randn(3, 12, 16, dtype=torch.float64)
        mask = nn.Transformer.generate_square_subsequent_mask(12, dtype=torch.float64)
        expected = theirs(x, mask, is_causal=True)
        context = causal_context(model.stack.position, TOKENS, None, None, None, None)
        torch.testing.assert_close(ours(x, context), expected, rtol=0, atol=1e-10)
    if first:
        carry_over(oracle.norm, model.stack.norm.state_dict())
    expected = oracle(model.embedding.table(TOKENS), mask, is_causal=True) @ model.embedding.table.weight.T
    torch.testing.assert_close(model(TOKENS), expected, rtol=0, atol=1e-10)


def carry_over(module: nn.Module, state: dict[str, Tensor]) -> None:
    module.load_state_dict({key: value.detach() for key, value in state.items()}, strict=True)


@pytest.mark.parametrize("name", BLOCKS)
def test_stack_ends_in_a_norm_unless_blocks_norm_the_stream(name: str, make_model: Any) -> None:
    model = make_model({"model.block": name, "model.tie_embeddings": False})
    streams: list[Tensor] = []
    model.readout.register_forward_pre_hook(lambda module, inputs: streams.append(inputs[0]))
    norm = model.stack.norm if BLOCKS[name].component.norm_at_end else model.stack.blocks[-1].norms[-1]
    nn.init.ones_(norm.weight)
    nn.init.zeros_(norm.bias)
    model(TOKENS)
    torch.testing.assert_close(streams[0], layer_norm(streams[0], (16,)), rtol=0, atol=1e-3)


class OneFeature(nn.Module):
    """A sublayer of another width, which adding to the stream would hide."""

    def forward(self, x: Tensor, context: Any) -> Tensor:
        return x[..., :1]


@pytest.mark.parametrize("name", ["pre_norm", "post_norm", "deepnorm", "layer_norm_scaling", "parallel"])
def test_sublayer_that_changes_the_shape_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"a sublayer returned \(2, 4, 1\) for \(2, 4, 8\); it has to keep the shape"):
        build(name, OneFeature(), OneFeature())(torch.ones(2, 4, 8, dtype=torch.float64), None)
