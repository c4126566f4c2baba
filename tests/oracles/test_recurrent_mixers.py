"""Recurrent mixers: token by token against all at once, against their formulas, and against transformers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.attention import normal
from torch import Tensor

from ablation.components.architecture.masks import causal_context
from ablation.components.base import BuildContext
from ablation.components.context import Cache, ForwardContext
from ablation.components.initialization import GPT2
from ablation.components.mixer.base import RecurrentMixer
from ablation.components.mixer.convolution import LongFilter, ShortConvolution, long_convolution
from ablation.components.mixer.delta import delta_rule, unit_length
from ablation.components.mixer.linear_attention import gated_linear_recurrence
from ablation.components.mixer.state_space import scan
from ablation.components.position.base import Position
from ablation.components.position.rotary import Rope
from ablation.model.build import build_model, build_uninitialized, initialize
from ablation.registry import REGISTRY

RIVALS = [name for name, config in REGISTRY["mixer"].items() if issubclass(config.component, RecurrentMixer)]
VARIANTS = [(name, {}) for name in RIVALS] + [
    ("convolution", {"kernel_size": 1, "bias": True}),
    ("convolution", {"kernel_size": 20}),
    ("linear_attention", {"decay": True}),
    ("linear_attention", {"feature": "relu", "normalize": False}),
    ("gla", {"temperature": 0.5, "key_expansion": 1.0}),
    ("delta", {"kernel_size": None, "beta_scale": 2.0}),
    ("gated_delta", {"kernel_size": None, "key_expansion": 2.0}),
    ("mamba", {"state": 3, "rank": 0.125}),
]
every_rival = pytest.mark.parametrize("name", RIVALS)
every_variant = pytest.mark.parametrize(("name", "hyper"), VARIANTS, ids=lambda x: str(x).replace(" ", ""))

SHAPE = BuildContext(d_model=16, n_layers=2, n_heads=2, n_kv_heads=2, max_length=12)


X = normal(0, 3, 10, 16)


def rival(name: str, shape: BuildContext = SHAPE, **hyper: Any) -> Any:
    """In float64, with weights that are far from 0 and gains and shifts that are not neutral."""
    mixer = REGISTRY["mixer"][name](name=name, **hyper).build(shape)
    initialize(mixer, GPT2(shape, std=0.3), 0)
    with torch.no_grad():
        for seed, parameter in enumerate(mixer.double().parameters()):
            parameter += 0.1 * normal(seed, *parameter.shape)
    return mixer.eval()


def looking(
    x: Tensor, padding: Tensor | None = None, cache: Cache | None = None, position: Any = None
) -> ForwardContext:
    tokens = torch.zeros(x.shape[:2], dtype=torch.long)
    return causal_context(position or Position(SHAPE), tokens, None, padding, cache, None)


def assert_close(got: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


def padded(*rows: str) -> Tensor:
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


PADDINGS = {
    "left": padded("...xxxxxxx", "xxxxxxxxxx", ".........x"),
    "right": padded("xxxxxxx...", "xxxxxxxxxx", "x........."),
    "anywhere": padded("x..xx.xxx.", ".x.x.x.x.x", ".........."),
}


# What all promise


@every_variant
def test_recurrent_mixers_are_causal(name: str, hyper: dict[str, Any]) -> None:
    mixer = rival(name, **hyper).train()
    before = mixer(X[:1], looking(X[:1]))
    for token in range(10):
        x = X[:1].clone()
        x[0, token] += 1.0
        moved = (mixer(x, looking(x)) - before).abs().amax(-1)[0]
        assert not moved[:token].any() or moved[:token].max() < 1e-12
        assert moved[token] > 1e-9
        if token < 9 and hyper.get("kernel_size") != 1:
            assert moved[token + 1] > 1e-9, "nothing is seen of the past"


@pytest.mark.parametrize("where", PADDINGS)
@every_variant
def test_padding_is_as_if_it_were_not_there(name: str, hyper: dict[str, Any], where: str) -> None:
    mixer, padding = rival(name, **hyper), PADDINGS[where]
    x = X.clone()
    x[~padding] = 1e3
    y = mixer(x, looking(x, padding))
    assert y.isfinite().all()
    for text, present in enumerate(padding):
        if present.any():
            alone = x[text, present][None]
            assert_close(y[text, present], mixer(alone, looking(alone))[0])


@pytest.mark.parametrize("parts", [[1] * 10, [4, 1, 3, 2], [10]], ids=str)
@pytest.mark.parametrize("where", [None, *PADDINGS])
@every_variant
def test_going_on_from_a_cache_is_one_pass(
    name: str, hyper: dict[str, Any], where: str | None, parts: list[int]
) -> None:
    mixer, cache, padding = rival(name, **hyper), Cache(), None if where is None else PADDINGS[where]
    whole = mixer(X, looking(X, padding))
    paddings = [None] * len(parts) if padding is None else padding.split(parts, 1)
    pieces = [mixer(x, looking(x, p, cache)) for x, p in zip(X.split(parts, 1), paddings, strict=True)]
    real = torch.ones(3, 10, dtype=torch.bool) if padding is None else padding
    assert_close(torch.cat(pieces, 1)[real], whole[real])
    assert all(len(tensor) == 3 for state in cache.states.values() for tensor in state), "the batch comes first"


@every_rival
def test_cache_has_constant_size_except_for_hyena(name: str) -> None:
    mixer, cache, sizes = rival(name), Cache(), []
    for x in X.split(5, 1):
        mixer(x, looking(x, None, cache))
        sizes.append(cache.n_bytes)
    assert (sizes[0] == sizes[1]) == (name != "hyena")


@every_variant
def test_parameters_learn_with_finite_gradients_under_padding(name: str, hyper: dict[str, Any]) -> None:
    mixer = rival(name, **hyper)
    mixer(X, looking(X, PADDINGS["anywhere"]))[PADDINGS["anywhere"]].square().sum().backward()
    for path, parameter in mixer.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), path


@every_rival
def test_sequences_may_exceed_a_chunk_and_max_length(name: str) -> None:
    mixer, x, cache = rival(name), normal(1, 1, 150, 16), Cache()
    whole = mixer(x, looking(x))
    assert whole.isfinite().all()
    assert_close(torch.cat([mixer(part, looking(part, None, cache)) for part in x.split(37, 1)], 1), whole)


@every_rival
def test_positions_are_not_heeded_beyond_the_embeddings(name: str) -> None:
    mixer = rival(name)
    assert torch.equal(mixer(X, looking(X, position=Rope(SHAPE))), mixer(X, looking(X)))
    assert mixer.position_hooks == ("embed",)


@every_rival
def test_grouped_heads_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"n_kv_heads 1 must be n_heads 2, or null"):
        rival(name, replace(SHAPE, n_kv_heads=1))


@every_rival
def test_mixer_supports_an_encoder_or_refuses_it(name: str, configure: Any) -> None:
    changes = {"model.architecture": "encoder", "model.mixer": name, "model.n_kv_heads": None}
    config = configure({**changes, "model.position": "learned"})
    if name in ("lstm", "gru"):
        build_uninitialized(config.model, 11, 12)
    else:
        with pytest.raises(ValueError, match="fits a decoder, no encoder and no cross-attention"):
            build_uninitialized(config.model, 11, 12)


@every_rival
def test_cross_attention_is_refused(name: str, configure: Any) -> None:
    architecture = {"name": "encoder_decoder", "cross": {"name": name}}
    config = configure({"model.architecture": architecture, "model.n_kv_heads": None}).model
    with pytest.raises(ValueError, match=f"{name} cannot attend to an encoder"):
        build_uninitialized(config, 11, 12)


@every_rival
def test_parameters_are_about_as_many_as_those_of_attention(name: str) -> None:
    shape = BuildContext(d_model=128, n_layers=2, n_heads=4, n_kv_heads=4, max_length=64)
    with torch.device("meta"):
        mixer = REGISTRY["mixer"][name](name=name).build(shape)
    share = sum(parameter.numel() for parameter in mixer.parameters()) / (4 * 128**2)
    assert 0.9 < share < 1.15, share


@every_rival
def test_mixed_precision_stays_near(name: str) -> None:
    mixer, x = rival(name).float(), normal(1, 2, 80, 16).float()
    exact = mixer(x, looking(x))
    with torch.autocast("cpu", torch.bfloat16):
        y = mixer(x, looking(x)).float()
        y.sum().backward()
    assert (y - exact).norm() < 0.05 * exact.norm()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


@every_rival
def test_sixteen_bits_throughout_are_possible(name: str) -> None:
    mixer, x = rival(name).float(), normal(1, 2, 80, 16).float()
    exact, cache = mixer(x, looking(x)), Cache()
    x = x.bfloat16()
    y = torch.cat([mixer.bfloat16()(part, looking(part, None, cache)) for part in x.split(50, 1)], 1)
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).norm() < 0.1 * exact.norm()


@every_rival
def test_whole_model_uses_a_cache_and_trains(name: str, configure: Any) -> None:
    config = configure({"model.mixer": name, "model.n_kv_heads": None, "model.position": "learned"}).model
    model = build_model(config, 11, 12, 0)
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
    F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    model, cache = model.double().eval(), Cache()
    assert_close(torch.cat([model(token, cache=cache) for token in tokens.split(1, 1)], 1), model(tokens))


# Their formulas, token by token


def recall_by_token(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    y = []
    for t in range(q.size(2)):
        state = g[:, :, t].exp()[..., None] * state + k[:, :, t, :, None] * v[:, :, t, None, :]
        y.append((q[:, :, t, :, None] * state).sum(-2))
    return torch.stack(y, 2), state


def correct_by_token(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, g: Tensor, state: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    y, state = [], state * torch.ones(*k.shape[:2], k.size(-1), v.size(-1), dtype=k.dtype)
    for t in range(q.size(2)):
        key = k[:, :, t, :, None]
        state = g[:, :, t, :, None].exp() * state
        state = state - b[:, :, t, :, None] * key @ (key.mT @ state) + b[:, :, t, :, None] * key @ v[:, :, t, None, :]
        y.append((q[:, :, t, :, None] * state).sum(-2))
    return torch.stack(y, 2), state


def scan_by_token(
    u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, before: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    y, h = [], torch.zeros(len(u), *a.shape, dtype=u.dtype) if before is None else before
    for t in range(u.size(1)):
        h = (dt[:, t, :, None] * a).exp() * h + (dt[:, t] * u[:, t])[..., None] * b[:, t, None]
        y.append((h * c[:, t, None]).sum(-1))
    return torch.stack(y, 1), h


@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("beta_scale", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("length", [1, 16, 130])
def test_recall_in_chunks_is_recall_by_token(length: int, beta_scale: float, features: int) -> None:
    """Also where a token forgets all that was: nothing overflows, forward or backward."""
    q, k, v = normal(0, 2, 3, length, 4), normal(1, 2, 3, length, 4), normal(2, 2, 3, length, 5)
    g, before = beta_scale * F.logsigmoid(normal(3, 2, 3, length, features)), normal(4, 2, 3, 4, 5)
    g.requires_grad_()
    y, state = gated_linear_recurrence(q, k, v, g, (before,))
    expected, last = recall_by_token(q, k, v, g, before)
    assert_close(y, expected)
    assert_close(state, last)
    gradient, reference = (torch.autograd.grad(z.square().sum(), g)[0] for z in (y, expected))
    assert_close(gradient, reference, 1e-8)


@pytest.mark.parametrize("beta_scale", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("length", [1, 64, 130])
def test_corrections_in_chunks_are_corrections_by_token(length: int, beta_scale: float) -> None:
    q, k, v = normal(0, 2, 3, length, 4), unit_length(normal(1, 2, 3, length, 4)), normal(2, 2, 3, length, 5)
    b, g = 2 * normal(3, 2, 3, length, 1).sigmoid(), beta_scale * F.logsigmoid(normal(4, 2, 3, length, 1))
    b.requires_grad_(), g.requires_grad_()
    before = normal(5, 2, 3, 4, 5)
    y, state = delta_rule(q, k, v, b, g, (before,))
    expected, last = correct_by_token(q, k, v, b, g, before)
    assert_close(y, expected)
    assert_close(state, last)
    gradients, references = (torch.autograd.grad(z.square().sum(), (b, g)) for z in (y, expected))
    for gradient, reference in zip(gradients, references, strict=True):
        assert_close(gradient, reference, 1e-8)


@pytest.mark.parametrize("beta_scale", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("length", [1, 64, 150])
@pytest.mark.parametrize("goes_on", [False, True])
def test_scan_in_chunks_is_recurrence_and_so_are_its_gradients(goes_on: bool, length: int, beta_scale: float) -> None:
    """Also where a token forgets nothing, or all that was."""
    u, dt, a = normal(0, 2, length, 3), beta_scale * F.softplus(normal(1, 2, length, 3)), -normal(2, 3, 4).exp()
    b, c, before = normal(3, 2, length, 4), normal(4, 2, length, 4), normal(5, 2, 3, 4)
    given = [tensor.requires_grad_() for tensor in (u, dt, a, b, c, *([before] if goes_on else []))]
    results, gradients = [], []
    for y, h in (scan(*given[:5], tuple(given[5:]) or None), scan_by_token(*given)):
        results.append((y, h))
        gradients.append(torch.autograd.grad(y.cos().sum() + h.sin().sum(), given))
    for got, expected in [*zip(*results, strict=True), *zip(*gradients, strict=True)]:
        assert_close(got, expected, 1e-10)


def test_scan_may_end_or_begin_without_gradients() -> None:
    u, dt, a, b, c = (
        normal(0, 2, 9, 3),
        normal(1, 2, 9, 3).exp(),
        -normal(2, 3, 4).exp(),
        normal(3, 2, 9, 4),
        normal(4, 2, 9, 4),
    )
    for wanted in (u, dt, a, b, c):
        wanted.requires_grad_()
        got, expected = (torch.autograd.grad(f(u, dt, a, b, c)[0].sum(), wanted)[0] for f in (scan, scan_by_token))
        assert_close(got, expected)
        wanted.requires_grad_(False)
    u.requires_grad_()
    got, expected = (torch.autograd.grad(f(u, dt, a, b, c)[1].sum(), u)[0] for f in (scan, scan_by_token))
    assert_close(got, expected)


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (2, -1)).transpose(1, 2)


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("feature", ["elu", "relu"])
def test_linear_attention_is_a_weighted_mean(feature: str, decay: bool) -> None:
    """The quadratic form: weights f(q) f(k) that fade with the distance, over their sum."""
    mixer = rival("linear_attention", feature=feature, decay=decay)
    f = {"elu": lambda x: F.elu(x) + 1, "relu": F.relu}[feature]
    q, k, v = f(heads(mixer.query(X))), f(heads(mixer.key(X))), heads(mixer.value(X))
    distance = torch.arange(10)[:, None] - torch.arange(10)
    kept = torch.tensor([1 - 2**-5, 1 - 2**-6]).double() if decay else torch.ones(2).double()
    weights = q @ k.mT * (distance >= 0) * kept[:, None, None] ** distance.clamp(min=0)
    expected = weights @ v / (weights.sum(-1, keepdim=True) + 1e-6 * 8**0.5)  # before the scale
    assert_close(mixer(X, looking(X)), mixer.out(expected.transpose(1, 2).flatten(2)), 1e-6)


def test_gla_without_forgetting_is_linear_attention() -> None:
    gated, plain = rival("gla", key_expansion=1.0), rival("linear_attention", normalize=False)
    plain.feature = lambda x: x
    gated.forget[1].weight.data.zero_()
    gated.forget[1].bias.data.fill_(1e3)
    for part in ("query", "key", "value"):
        getattr(plain, part).weight = getattr(gated, part).weight
    plain.out.weight.data = torch.eye(16).double()
    read = plain(X, looking(X)).unflatten(-1, (2, 8))
    normed = read / (read.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gated.norm.weight
    assert_close(gated(X, looking(X)), gated.out(F.silu(gated.gate(X)) * normed.flatten(2)))


def test_gla_forgets_by_feature() -> None:
    mixer = rival("gla")
    q, k, v = heads(mixer.query(X)) / 2, heads(mixer.key(X)), heads(mixer.value(X))
    g = heads(mixer.forget(X).sigmoid() ** (1 / 16)).log()
    y = recall_by_token(q, k, v, g)[0].transpose(1, 2)
    normed = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * mixer.norm.weight
    assert_close(mixer(X, looking(X)), mixer.out(F.silu(mixer.gate(X)) * normed.flatten(2)))


def test_gated_delta_rule_without_forgetting_is_the_delta_rule() -> None:
    gated, plain = rival("gated_delta", key_expansion=1.0), rival("delta")
    for part in ("query", "key", "value", "convolution", "correction", "norm"):
        setattr(plain, part, getattr(gated, part))
    plain.norm.eps = gated.norm.eps
    gated.log_rate.data.fill_(-1e3)
    plain.out.weight.data = torch.eye(16).double()
    assert_close(gated(X, looking(X)), gated.out(F.silu(gated.gate(X)) * plain(X, looking(X))))


def test_delta_rule_that_only_adds_is_linear_attention() -> None:
    """Where every key is new there is nothing to correct."""
    k = torch.eye(6).double()[None, None]
    q, v, ones, zeros = normal(0, 1, 1, 6, 6), normal(1, 1, 1, 6, 5), k.new_ones(1, 1, 6, 1), k.new_zeros(1, 1, 6, 1)
    assert_close(delta_rule(q, k, v, ones, zeros)[0], gated_linear_recurrence(q, k, v, zeros)[0])


def test_delta_rule_replaces_a_value_where_linear_attention_adds() -> None:
    """Section 4.2 of Schlag et al.: keys a, b, then a again with another value; what is read for a is the last."""
    a, b = torch.eye(4).double()[:2]
    k = torch.stack([a, b, a])[None, None]
    q, v, ones, zeros = k, normal(0, 1, 1, 3, 5), torch.ones(1, 1, 3, 1).double(), torch.zeros(1, 1, 3, 1).double()
    first, second, third = v[0, 0]
    assert_close(delta_rule(q, k, v, ones, zeros)[0][0, 0], torch.stack([first, second, third]))
    assert_close(gated_linear_recurrence(q, k, v, zeros)[0][0, 0], torch.stack([first, second, first + third]))
    halfway = delta_rule(q, k, v, ones / 2, zeros)[0][0, 0, 2]
    assert_close(halfway, first / 4 + third / 2)


def test_delta_rule_at_full_strength_turns_the_state_round() -> None:
    k = torch.tensor([1.0, 0.0]).double()[None, None, None]
    before, v, zeros = torch.eye(2).double()[None, None], torch.zeros(1, 1, 1, 2).double(), torch.zeros(1, 1, 1, 1)
    _, state = delta_rule(k, k, v, 2 * torch.ones(1, 1, 1, 1).double(), zeros.double(), (before,))
    assert_close(state[0, 0], torch.tensor([[-1.0, 0.0], [0.0, 1.0]]).double())


# Convolutions


def test_short_convolution_is_that_of_torch() -> None:
    short = ShortConvolution(16, 4, bias=True).double()
    short.weight.data, short.bias.data = normal(1, 4, 16), normal(2, 16)
    expected = F.conv1d(F.pad(X.mT, (3, 0)), short.weight.T[:, None], short.bias, groups=16).mT
    assert_close(short(X, looking(X)), expected, 1e-12)


@pytest.mark.parametrize("kernel_size", [1, 3, 20])
def test_convolution_sees_kernel_size_tokens(kernel_size: int) -> None:
    mixer, x = rival("convolution", kernel_size=kernel_size), X[:1].clone().requires_grad_()
    (seen,) = torch.autograd.grad(mixer(x, looking(x))[0, -1].sum(), x)
    assert (seen[0].abs().amax(-1) > 0).tolist() == [token >= 10 - kernel_size for token in range(10)]


def test_long_convolution_equals_a_short_one_with_a_full_kernel() -> None:
    h = normal(1, 10, 16)
    expected = F.conv1d(F.pad(X.mT, (9, 0)), h.flip(0).T[:, None], groups=16).mT
    assert_close(long_convolution(X, h), expected, 1e-12)


def test_hyena_is_its_formula() -> None:
    mixer = rival("hyena")
    maps = torch.cat([mixer.query.weight, mixer.key.weight, mixer.value.weight])
    q, k, v = F.conv1d(F.pad((X @ maps.T).mT, (2, 0)), mixer.short.weight.T[:, None], groups=48).mT.chunk(3, -1)
    h = mixer.filter(10)
    y = [sum(h[i] * (k * v)[:, t - i] for i in range(t + 1)) + mixer.direct * (k * v)[:, t] for t in range(10)]
    assert_close(mixer(X, looking(X)), mixer.out(q * torch.stack(y, 1)))


def test_hyena_padding_leaves_no_rounding_errors() -> None:
    mixer, padding, x = rival("hyena").float(), PADDINGS["left"], X.float()
    y = mixer(x, looking(x, padding))
    x[~padding] = 1e6
    assert torch.equal(mixer(x, looking(x, padding))[padding], y[padding])


def test_filter_of_hyena_depends_on_the_distance_alone_and_fades() -> None:
    made = LongFilter(16, 32, 64).double()
    made.initialize(torch.Generator().manual_seed(0))
    assert_close(made(100)[:40], made(40), 1e-12)
    size = made(64).square().mean(-1)
    assert size[:16].mean() > 5 * size[-16:].mean()
    assert (made(64)[1:] - made(64)[:-1]).abs().mean() > 0.05 * made(64).abs().mean()


# Recurrent networks


def test_lstm_is_its_formula() -> None:
    mixer = rival("lstm")
    core = mixer.onward
    h = c = torch.zeros(3, core.hidden_size).double()
    for t in range(10):
        i, f, g, o = (
            X[:, t] @ core.weight_ih_l0.T + core.bias_ih_l0 + h @ core.weight_hh_l0.T + core.bias_hh_l0
        ).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        assert_close(mixer(X, looking(X))[:, t], h @ mixer.out.weight.T)


def test_gru_is_its_formula() -> None:
    mixer = rival("gru")
    core = mixer.onward
    h = torch.zeros(3, core.hidden_size).double()
    for t in range(10):
        r, z, n = (X[:, t] @ core.weight_ih_l0.T + core.bias_ih_l0).chunk(3, -1)
        hr, hz, hn = (h @ core.weight_hh_l0.T + core.bias_hh_l0).chunk(3, -1)
        r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
        h = z * h + (1 - z) * (n + r * hn).tanh()
        assert_close(mixer(X, looking(X))[:, t], h @ mixer.out.weight.T)


@pytest.mark.parametrize("where", [None, *PADDINGS])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_encoder_reads_from_both_ends(name: str, where: str | None) -> None:
    mixer = rival(name, replace(SHAPE, causal=False))
    padding = None if where is None else PADDINGS[where]
    y = mixer(X, looking(X, padding))
    for text in range(3):
        x = X[text] if padding is None else X[text, padding[text]]
        if len(x):
            expected = torch.cat([mixer.onward(x)[0], mixer.backward_(x.flip(0))[0].flip(0)], -1) @ mixer.out.weight.T
            assert_close(y[text] if padding is None else y[text, padding[text]], expected)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_state_space_parameters_come_from_the_seed(name: str) -> None:
    cores = []
    for seed in (0, 0, 1):
        mixer = REGISTRY["mixer"][name](name=name).build(SHAPE)
        initialize(mixer, GPT2(SHAPE), seed)
        cores.append(mixer.onward)
    first, again, other = (core.weight_hh_l0 for core in cores)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert 0.9 * first.size(1) ** -0.5 < first.abs().max() < first.size(1) ** -0.5
    shifts = cores[0].bias_ih_l0.chunk(4 if name == "lstm" else 3)
    assert [shift.unique().tolist() for shift in shifts] == ([[0], [1], [0], [0]] if name == "lstm" else [[0]] * 3)
    assert not cores[0].bias_hh_l0.any()


# transformers


def copy(linear: Any, *weights: Tensor) -> None:
    linear.weight.data = torch.cat(weights).detach().clone()


@pytest.mark.parametrize("where", [None, "left"])
def test_mamba_is_that_of_transformers(where: str | None) -> None:
    pytest.importorskip("transformers")
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    mixer = rival("mamba", expansion=2.0, state=5, rank=3 / 16)
    config = MambaConfig(hidden_size=16, state_size=5, time_step_rank=3, conv_kernel=4, expand=2, num_hidden_layers=1)
    oracle = MambaMixer(config, 0).double().eval()
    copy(oracle.in_proj, mixer.up.weight, mixer.gate.weight)
    copy(oracle.x_proj, mixer.choose.weight)
    copy(oracle.dt_proj, mixer.time.weight)
    copy(oracle.out_proj, mixer.out.weight)
    oracle.dt_proj.bias.data, oracle.A_log.data, oracle.D.data = mixer.step.data, mixer.log_rate.data, mixer.direct.data
    oracle.conv1d.weight.data, oracle.conv1d.bias.data = (
        mixer.convolution.weight.data.T[:, None],
        mixer.convolution.bias,
    )
    padding = None if where is None else PADDINGS[where]
    expected = oracle(X, attention_mask=None if padding is None else padding.long())
    real = torch.ones(3, 10, dtype=torch.bool) if padding is None else padding
    assert_close(mixer(X, looking(X, padding))[real], expected[real], 2e-6)  # it scans in 32 bits


def test_delta_rule_is_that_of_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers.models.qwen3_next import modeling_qwen3_next as oracle

    q, k, v = normal(0, 2, 70, 3, 4), normal(1, 2, 70, 3, 4), normal(2, 2, 70, 3, 5)
    g, b, before = F.logsigmoid(normal(3, 2, 70, 3)), normal(4, 2, 70, 3).sigmoid(), normal(5, 2, 3, 4, 5)
    turned = [x.transpose(1, 2) for x in (q, k, v, b[..., None], g[..., None])]
    y, state = delta_rule(unit_length(turned[0]) / 2, unit_length(turned[1]), *turned[2:], (before,))
    for rule in (oracle.torch_recurrent_gated_delta_rule, oracle.torch_chunk_gated_delta_rule):
        expected, last = rule(
            q, k, v, g=g, beta=b, initial_state=before, output_final_state=True, use_qk_l2norm_in_kernel=True
        )
        assert_close(y.transpose(1, 2), expected.double(), 1e-5)  # it computes in 32 bits
        assert_close(state, last.double(), 1e-5)


@pytest.mark.parametrize("where", [None, "left"])
def test_gated_delta_rule_is_the_layer_of_qwen3_next(where: str | None) -> None:
    pytest.importorskip("transformers")
    from transformers import Qwen3NextConfig
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    mixer = rival("gated_delta")
    sizes = {f"linear_num_{part}_heads": 2 for part in ("key", "value")}
    sizes |= {"linear_key_head_dim": 4, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4}
    oracle = Qwen3NextGatedDeltaNet(Qwen3NextConfig(hidden_size=16, num_hidden_layers=1, **sizes), 0).double().eval()
    by_head = [getattr(mixer, part).weight.unflatten(0, (2, -1)) for part in ("query", "key", "value", "gate")]
    copy(oracle.in_proj_qkvz, torch.cat(by_head, 1).flatten(0, 1))
    copy(oracle.in_proj_ba, torch.stack([mixer.correction.weight, mixer.forget.weight], 1).flatten(0, 1))
    copy(oracle.out_proj, mixer.out.weight)
    oracle.norm.weight.data, oracle.conv1d.weight.data = mixer.norm.weight, mixer.convolution.weight.data.T[:, None]
    oracle.A_log.data, oracle.dt_bias.data = mixer.log_rate.data, mixer.step.data
    padding = None if where is None else PADDINGS[where]
    expected = oracle(X, attention_mask=None if padding is None else padding.long())
    real = torch.ones(3, 10, dtype=torch.bool) if padding is None else padding
    assert_close(mixer(X, looking(X, padding))[real], expected[real], 1e-5)  # it computes in 32 bits


def test_convolution_is_the_layer_of_lfm2() -> None:
    pytest.importorskip("transformers")
    from transformers import Lfm2Config
    from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

    mixer = rival("convolution", kernel_size=3)
    oracle = Lfm2ShortConv(Lfm2Config(hidden_size=16, num_hidden_layers=1, conv_L_cache=3, conv_bias=False), 0)
    copy(oracle.in_proj, mixer.key.weight, mixer.query.weight, mixer.value.weight)
    copy(oracle.out_proj, mixer.out.weight)
    oracle.conv.weight.data = mixer.convolution.weight.data.T[:, None]
    padding = PADDINGS["left"]
    expected = oracle(X, attention_mask=padding.long())
    assert_close(mixer(X, looking(X, padding))[padding], expected[padding], 1e-12)
