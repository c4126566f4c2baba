"""Norms, blocks and residuals against the implementations of others, their formulas and each other."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.components.base import BuildContext
from ablation.components.norm import LayerNorm, RMSNorm
from ablation.components.residual import Residual
from ablation.model.build import build_model
from ablation.registry import REGISTRY

SHAPE = BuildContext(d_model=16, n_layers=3, n_heads=4, n_kv_heads=4, max_length=12)
X = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
BLOCKS = REGISTRY["block"]


def close(one: Tensor, other: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def make(slot: str, name: str, **hyper: Any) -> Any:
    """Every parameter drawn wide, in float64."""
    module = REGISTRY[slot][name](name=name, **hyper).build(SHAPE).double()
    for seed, parameter in enumerate(module.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return module


def with_rotations(config: Any, rotary: type[nn.Module]) -> tuple[Tensor, Tensor]:
    cosine, sine = rotary(config)(X, torch.arange(12)[None])
    return cosine.double(), sine.double()


@pytest.fixture
def make_undisturbed(configure: Any) -> Any:
    """Models as they are before the first step."""
    return lambda changes: build_model(configure(changes).model, 11, 12, 0)


# Norms


@pytest.mark.parametrize("unit_offset", [False, True])
def test_rms_norm_equals_llama_t5_and_gemma(unit_offset: bool) -> None:
    from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    ours = make("norm", "rms_norm", eps=1e-3, unit_offset=unit_offset).float()
    for kind in [Gemma2RMSNorm] if unit_offset else [LlamaRMSNorm, T5LayerNorm]:
        theirs = kind(16, eps=1e-3)
        theirs.load_state_dict(ours.state_dict())
        close(ours(X.float()), theirs(X.float()), 2e-6)


def test_rms_norm_starts_equal_with_and_without_unit_offset() -> None:
    offset = RMSNorm(SHAPE, unit_offset=True)
    assert not offset.weight.any()
    close(offset.double()(X), RMSNorm(SHAPE).double()(X))


def test_layer_norm_without_bias_is_that_of_torch() -> None:
    norm = make("norm", "layer_norm", bias=False)
    assert [path for path, _ in norm.named_parameters()] == ["weight"]
    close(norm(X), nn.functional.layer_norm(X, (16,), norm.weight, None, 1e-5))
    assert LayerNorm(SHAPE).bias is not None


def test_scale_norm_is_its_formula_and_starts_as_rms_norm() -> None:
    norm = make("norm", "scale_norm")
    close(norm(X), norm.length * X / X.square().sum(-1, keepdim=True).sqrt())
    start = REGISTRY["norm"]["scale_norm"](name="scale_norm").build(SHAPE).double()
    close(start(X), RMSNorm(SHAPE, eps=1e-15).double()(X))
    zero = torch.zeros(1, 1, 16, dtype=torch.float64, requires_grad=True)
    start(zero).sum().backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def test_dyt_equals_its_formula_and_is_linear_for_small_alpha() -> None:
    norm = make("norm", "dyt")
    close(norm(X), norm.weight * torch.tanh(norm.slope * X) + norm.bias)
    start = REGISTRY["norm"]["dyt"](name="dyt").build(SHAPE)
    assert start.slope.item() == 0.5 and (start.weight == 1).all() and not start.bias.any()
    nearly = REGISTRY["norm"]["dyt"](name="dyt", alpha=1e-5).build(SHAPE).double()
    close(nearly(X) / nearly.slope, X, 1e-8)


def test_batch_norm_is_its_formula_and_warns_in_its_first_line() -> None:
    norm = make("norm", "batch_norm", eps=1e-3, momentum=0.25)
    mean, variance = X.mean((0, 1)), X.var((0, 1), correction=0)
    close(norm(X), (X - mean) / (variance + 1e-3).sqrt() * norm.weight + norm.bias)
    running_mean, running_variance = 0.25 * mean, 0.75 + 0.25 * X.var((0, 1))
    close(norm.eval()(X), (X - running_mean) / (running_variance + 1e-3).sqrt() * norm.weight + norm.bias)
    assert REGISTRY["norm"]["batch_norm"].summary().startswith("LEAKS")
    assert not {"running_mean", "running_var"} & dict(norm.named_parameters()).keys()


# Residuals

Y = X.roll(1, 0).cos()


def test_residuals_are_their_formulas() -> None:
    close(make("residual", "scaled", alpha=0.3)(X, Y), X + 0.3 * Y)
    rezero, layer_scale = make("residual", "rezero"), make("residual", "layer_scale")
    assert rezero.share.shape == () and layer_scale.share.shape == (16,)
    close(rezero(X, Y), X + rezero.share * Y)
    close(layer_scale(X, Y), X + layer_scale.share * Y)


def test_residuals_start_at_their_init_value_and_are_plain_at_one() -> None:
    def start(name: str, **hyper: float) -> Tensor:
        residual: nn.Module = REGISTRY["residual"][name](name=name, **hyper).build(SHAPE).double()
        return residual(X, Y)

    assert torch.equal(start("rezero"), X)
    close(start("layer_scale"), X + 1e-5 * Y)
    for name, hyper in (("scaled", "alpha"), ("rezero", "init_value"), ("layer_scale", "init_value")):
        assert torch.equal(start(name, **{hyper: 1.0}), X + Y)


# Blocks


class Map(nn.Linear):
    """A sublayer that looks at nothing else."""

    def __init__(self) -> None:
        super().__init__(16, 16)

    def forward(self, x: Tensor, context: Any = None) -> Tensor:
        return super().forward(x).tanh()


def block(name: str, *sublayers: nn.Module, norm: Any = None, residual: str = "plain", **hyper: Any) -> Any:
    here = replace(SHAPE, layer=hyper.pop("layer", 0), dropout=hyper.pop("dropout", 0.0))
    join = REGISTRY["residual"][residual](name=residual)
    norms = norm or (lambda: nn.LayerNorm(16))
    built = BLOCKS[name](name=name, **hyper).build(here, sublayers, norms, lambda: join.build(here)).double()
    for seed, parameter in enumerate(built.parameters()):  # no two norms alike
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return built


def test_blocks_are_their_equations() -> None:
    f, g = Map(), Map()
    deep = block("deepnorm", f, g, alpha=1.5)
    y = deep.norms[0](1.5 * X + f(X))
    close(deep(X, None), deep.norms[1](1.5 * y + g(y)))
    branch = block("branch_norm", f, g)
    y = X + branch.norms[0](f(X))
    close(branch(X, None), y + branch.norms[1](g(y)))
    scaling = block("layer_norm_scaling", f, g, layer=2)
    y = X + f(scaling.norms[0](X) / math.sqrt(3))
    close(scaling(X, None), y + g(scaling.norms[1](y) / math.sqrt(3)))
    apart = block("parallel", f, g, shared_norm=False)
    close(apart(X, None), X + f(apart.norms[0](X)) + g(apart.norms[1](X)))


def test_blocks_reduce_to_plain_ones_at_their_neutral_settings() -> None:
    f, g = Map(), Map()
    pairs = [("post_norm", "deepnorm", {"alpha": 1.0}), ("pre_norm", "layer_norm_scaling", {"layer": 0})]
    for plain, other, neutral in pairs:
        assert torch.equal(block(plain, f, g)(X, None), block(other, f, g, **neutral)(X, None))
    apart, shared = block("parallel", f, g, shared_norm=False), block("parallel", f, g)
    apart.norms[1].load_state_dict(apart.norms[0].state_dict())
    shared.norms[0].load_state_dict(apart.norms[0].state_dict())
    close(apart(X, None), shared(X, None))


@pytest.mark.parametrize(("sublayers", "alpha", "beta"), [(2, 12**0.25, 48**-0.25), (3, 18**0.25, 72**-0.25)])
def test_deepnorm_takes_the_values_of_the_paper(sublayers: int, alpha: float, beta: float) -> None:
    """Table of section 3: (2 N)^(1/4), (8 N)^(-1/4); with cross-attention (3 M)^(1/4), (12 M)^(-1/4); here for 6."""
    maps, shape = [Map() for _ in range(sublayers)], replace(SHAPE, n_layers=6)
    deep = BLOCKS["deepnorm"](name="deepnorm").build(shape, maps, nn.Identity, nn.Identity)
    assert deep.alpha == pytest.approx(alpha) and deep.beta == pytest.approx(beta)


@pytest.mark.parametrize("feedforward", ["mlp", "glu", "moe"])
@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
def test_deepnorm_scales_feedforward_value_and_out_maps_only(
    architecture: str, feedforward: str, make_undisturbed: Any
) -> None:
    changes = {"model.architecture": architecture, "model.feedforward": feedforward}
    plain = make_undisturbed({**changes, "model.block": "post_norm"}).state_dict()
    deep = make_undisturbed({**changes, "model.block": {"name": "deepnorm", "beta": 0.5}}).state_dict()
    assert plain.keys() == deep.keys()
    for path, weight in plain.items():
        scaled = path.endswith(("value.weight", "out.weight", "up.weight", "gate.weight", "down.weight"))
        torch.testing.assert_close(deep[path], weight * (0.5 if scaled else 1.0), msg=path)


@pytest.mark.parametrize(("shared", "scaled"), [("key_value", "key"), ("query_key", "value")])
def test_deepnorm_scales_the_map_that_values_come_from(shared: str, scaled: str, make_undisturbed: Any) -> None:
    changes = {"model.mixer": {"name": "attention", "tied_projections": shared}}
    plain, deep = (
        make_undisturbed({**changes, "model.block": block}).stack.blocks[0].sublayers[0]
        for block in ("post_norm", {"name": "deepnorm", "beta": 0.5})
    )
    close(getattr(deep, scaled).weight, getattr(plain, scaled).weight * 0.5)
    close(deep.query.weight, plain.query.weight)


def test_branch_norm_is_the_layer_of_olmo2() -> None:
    from transformers import Olmo2Config
    from transformers.models.olmo2.modeling_olmo2 import Olmo2DecoderLayer, Olmo2RotaryEmbedding

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_hidden_layers": 1}
    config = Olmo2Config(**sizes, vocab_size=11, pad_token_id=0, attn_implementation="eager")
    layer = Olmo2DecoderLayer(config, 0).double()
    rotations = with_rotations(config, Olmo2RotaryEmbedding)
    attend = Borrowed(lambda x: layer.self_attn(x, position_embeddings=rotations, attention_mask=None)[0])
    ours = block("branch_norm", attend, Borrowed(layer.mlp), norm=lambda: RMSNorm(SHAPE, eps=config.rms_norm_eps))
    layer.post_attention_layernorm.load_state_dict(ours.norms[0].state_dict())
    layer.post_feedforward_layernorm.load_state_dict(ours.norms[1].state_dict())
    close(ours(X, None), layer(X, position_embeddings=rotations), 1e-5)  # their norm computes in float32


def test_parallel_with_norms_apart_is_the_layer_of_neox() -> None:
    from transformers import GPTNeoXConfig
    from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXLayer, GPTNeoXRotaryEmbedding

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_hidden_layers": 1}
    config = GPTNeoXConfig(**sizes, vocab_size=11, attn_implementation="eager")
    layer = GPTNeoXLayer(config, 0).double().eval()
    rotations = with_rotations(config, GPTNeoXRotaryEmbedding)
    attend = Borrowed(lambda x: layer.attention(x, attention_mask=None, position_embeddings=rotations)[0])
    ours = block("parallel", attend, Borrowed(layer.mlp), shared_norm=False)
    layer.input_layernorm.load_state_dict(ours.norms[0].state_dict())
    layer.post_attention_layernorm.load_state_dict(ours.norms[1].state_dict())
    close(ours(X, None), layer(X, position_embeddings=rotations))


class Borrowed(nn.Module):
    """A sublayer of another library's."""

    def __init__(self, function: Any):
        super().__init__()
        self.function = [function]  # its parameters stay where they are

    def forward(self, x: Tensor, context: Any) -> Tensor:
        return self.function[0](x)


@pytest.mark.parametrize("name", BLOCKS)
def test_dropout_takes_from_the_branch_or_from_the_stream(name: str) -> None:
    class Broken(Residual):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            joined.append((x, y))
            return x + y

    for where, dropped in (("branch", 1), ("stream", 0)):
        joined: list[tuple[Tensor, Tensor]] = []
        built = block(name, Map(), Map(), dropout=0.5, dropout_on=where).train()
        for join in built.residuals:
            join.residual = Broken(SHAPE)
        built(X, None)
        for pair in joined:
            assert (pair[dropped] == 0).double().mean() == pytest.approx(0.5, abs=0.1)
            assert (pair[1 - dropped] == 0).sum() == 0
