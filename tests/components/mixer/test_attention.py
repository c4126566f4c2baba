"""Attention against its formula and torch.nn.MultiheadAttention; the backends against each other."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.attention import normal
from torch import Tensor, nn

from ablation.components.attention_backend import AttentionInputs
from ablation.components.base import BuildContext
from ablation.components.context import Cache, ForwardContext, SharedTensors
from ablation.components.mixer.attention import Attention
from ablation.components.position.base import Position
from ablation.components.position.bias import Alibi
from ablation.components.position.rotary import Rope
from ablation.registry import REGISTRY

BACKENDS = REGISTRY["attention_backend"]
OTHERS = [name for name in BACKENDS if name != "manual"]
DROPPING = [name for name, backend in BACKENDS.items() if "dropout" in backend.component.supports]
WITHOUT_GRADIENTS = {"flex"}
"""Cannot train on a CPU: compared forward only."""


def shape(n_kv_heads: int = 4) -> BuildContext:
    return BuildContext(d_model=16, n_layers=2, n_heads=4, n_kv_heads=n_kv_heads, max_length=12)


def attention(backend: str = "sdpa", n_kv_heads: int = 4, d_head: int = 4, **hyper: Any) -> Attention:
    """In float64, every weight and shift drawn wide; not trained."""
    mixer = Attention(
        replace(shape(n_kv_heads), d_head=d_head), backend=BACKENDS[backend](name=backend), **hyper
    ).double()
    for seed, parameter in enumerate(mixer.parameters()):
        parameter.data = normal(seed, *parameter.shape) / 2
    return mixer.requires_grad_(False)


def looking(
    n_queries: int, n_keys: int, padding: Tensor | None = None, position: Position | None = None
) -> ForwardContext:
    """What the last ``n_queries`` of ``n_keys`` tokens may look at."""
    mask = torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries)[None, None]
    if padding is not None:
        mask = mask & padding[:, None, None, :]
    positions = torch.arange(n_keys)
    causal = n_queries == n_keys and padding is None
    return ForwardContext(
        position or Position(shape()), positions[-n_queries:], positions, mask, causal, shared=SharedTensors()
    )


def attend(
    backend: str, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, context: ForwardContext, dropout: float = 0.0
) -> Tensor:
    """The backend's output for scores of half of q k^T."""
    inputs = AttentionInputs(q, k, v, context.mask, 0.5, bias, context.causal, dropout)
    output: Tensor = BACKENDS[backend](name=backend).build()(inputs)
    return output


def left_padded(n_texts: int, n_tokens: int) -> Tensor:
    """Text t begins after 2 t tokens that are none, so that the queries before see nothing at all."""
    return torch.arange(n_tokens) >= 2 * torch.arange(n_texts)[:, None]


X = normal(100, 3, 6, 16)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("d_head", [4, 8], ids="d_head={}".format)
@pytest.mark.parametrize(("scale", "power"), [(True, -0.5), (False, 0.0), (1.0, 0.0), ("width", -1.0)])
def test_attention_is_its_formula_head_by_head(
    backend: str, n_kv_heads: int, d_head: int, scale: bool | float | str, power: float
) -> None:
    mixer = attention(backend, n_kv_heads, d_head, scale=scale, bias=True)
    outputs = mixer(X, looking(6, 6))
    group, d = 4 // n_kv_heads, d_head
    for text in range(3):
        read = []
        for head in range(4):
            rows, kv_rows = (slice(d * which, d * which + d) for which in (head, head // group))
            q = X[text] @ mixer.query.weight[rows].T + mixer.query.bias[rows]
            k = X[text] @ mixer.key.weight[kv_rows].T + mixer.key.bias[kv_rows]
            v = X[text] @ mixer.value.weight[kv_rows].T + mixer.value.bias[kv_rows]
            heads_read = []
            for token in range(6):
                scores = k[: token + 1] @ q[token] * d**power
                heads_read.append(scores.exp() @ v[: token + 1] / scores.exp().sum())
            read.append(torch.stack(heads_read))
        expected = torch.cat(read, -1) @ mixer.out.weight.T + mixer.out.bias
        torch.testing.assert_close(outputs[text], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_that_of_torch(backend: str, bias: bool) -> None:
    mixer = attention(backend, bias=bias)
    oracle = nn.MultiheadAttention(16, 4, bias=bias, batch_first=True, dtype=torch.float64)
    maps = (mixer.query, mixer.key, mixer.value)
    oracle.in_proj_weight.data = torch.cat([linear.weight for linear in maps])
    oracle.out_proj.weight.data = mixer.out.weight
    if bias:
        oracle.in_proj_bias.data = torch.cat([linear.bias for linear in maps])
        oracle.out_proj.bias.data = mixer.out.bias
    hidden = ~torch.ones(6, 6, dtype=torch.bool).tril()
    expected, _ = oracle(X, X, X, attn_mask=hidden, is_causal=True, need_weights=False)
    torch.testing.assert_close(mixer(X, looking(6, 6)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_kv_heads", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_grouped_query_attention_equals_repeated_keys_and_values(backend: str, n_kv_heads: int) -> None:
    grouped, plain = attention(backend, n_kv_heads), attention(backend)
    plain.query.weight.data, plain.out.weight.data = grouped.query.weight.data, grouped.out.weight.data
    for to, of in ((plain.key, grouped.key), (plain.value, grouped.value)):
        to.weight.data = (
            of.weight.data.unflatten(0, (n_kv_heads, 4)).repeat_interleave(4 // n_kv_heads, 0).flatten(0, 1)
        )
    torch.testing.assert_close(grouped(X, looking(6, 6)), plain(X, looking(6, 6)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("biased", ["no bias", "of all texts", "of each text"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("n_queries", [6, 2, 1])
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("backend", OTHERS)
def test_every_backend_gives_what_the_formula_gives(
    backend: str, n_kv_heads: int, n_queries: int, padded: bool, biased: str
) -> None:
    """Forward and backward, also where a query sees nothing: zeros there, and no gradient that is not finite."""
    context = looking(n_queries, 6, left_padded(3, 6) if padded else None)
    results = []
    for name in ("manual", backend):
        q, k, v = normal(0, 3, 4, n_queries, 4), normal(1, 3, n_kv_heads, 6, 4), normal(2, 3, n_kv_heads, 6, 4)
        inputs = [q, k, v]
        bias = None if biased == "no bias" else normal(3, 1 if biased == "of all texts" else 3, 4, n_queries, 6)
        inputs += [] if bias is None else [bias]
        for tensor in inputs:
            tensor.requires_grad_(backend not in WITHOUT_GRADIENTS)
        y = attend(name, q, k, v, bias, context)
        results.append([y.detach()])
        if backend not in WITHOUT_GRADIENTS:
            (y * normal(4, *y.shape)).sum().backward()
            results[-1] += [tensor.grad for tensor in inputs]
    for expected, got in zip(*results, strict=True):
        assert expected.isfinite().all()
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    sees_nothing = ~context.mask.any(-1).expand(3, 4, n_queries)
    assert sees_nothing.any() == (padded and n_queries > 2)
    assert not results[0][0][sees_nothing].any()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_masked_tokens_have_no_influence(backend: str, biased: bool) -> None:
    """Neither its key, nor its value, nor the bias on it, however large."""
    context = looking(6, 6, left_padded(3, 6))
    bias = normal(3, 3, 4, 6, 6) if biased else None
    q, k, v = normal(0, 3, 4, 6, 4), normal(1, 3, 2, 6, 4), normal(2, 3, 2, 6, 4)
    before = attend(backend, q, k, v, bias, context)
    hidden = ~left_padded(3, 6)
    k.transpose(1, 2)[hidden], v.transpose(1, 2)[hidden] = 1e6, -1e6
    if bias is not None:
        bias[~context.mask.expand_as(bias)] = 1e6
    torch.testing.assert_close(attend(backend, q, k, v, bias, context), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_fully_masked_query_is_finite_in_training_precisions(backend: str, dtype: torch.dtype) -> None:
    trains = backend not in WITHOUT_GRADIENTS
    tensors = [normal(seed, 3, 4, 6, 4).to(dtype).requires_grad_(trains) for seed in range(3)]
    bias = normal(3, 1, 4, 6, 6).to(dtype).requires_grad_(trains)
    for added in (None, bias):
        y = attend(backend, *tensors, added, looking(6, 6, left_padded(3, 6)))
        assert y.isfinite().all()
        if trains:
            y.sum().backward()
    assert not trains or all(tensor.grad.isfinite().all() for tensor in (*tensors, bias))


@pytest.mark.slow
@given(
    padding=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=3, max_size=3), first=st.integers(1, 5)
)
def test_backends_agree_with_any_padding_and_cache(padding: list[list[bool]], first: int) -> None:
    real = torch.tensor(padding)
    outputs = []
    for name in BACKENDS:
        mixer, cache = attention(name, n_kv_heads=2), Cache()
        parts = []
        for part in (slice(0, first), slice(first, 6)):
            mask = torch.ones(6, part.stop, dtype=torch.bool).tril()[part] & real[:, None, None, : part.stop]
            positions = torch.arange(6)
            context = ForwardContext(
                Rope(shape()).double(),
                positions[part],
                positions[: part.stop],
                mask,
                False,
                cache=cache,
                shared=SharedTensors(),
            )
            parts.append(mixer(X[:, part], context))
        outputs.append(torch.cat(parts, 1))
    whole = attention("manual", n_kv_heads=2)(X, looking(6, 6, real, Rope(shape()).double()))
    for got in outputs:
        torch.testing.assert_close(got, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bias_is_added_to_the_scaled_scores(backend: str) -> None:
    mixer, alibi = attention(backend), Alibi(shape()).double()
    heads = [linear(X).unflatten(-1, (4, 4)).transpose(1, 2) for linear in (mixer.query, mixer.key, mixer.value)]
    distance = torch.arange(6)[:, None] - torch.arange(6)
    scores = heads[0] @ heads[1].mT / 2 - alibi.slopes * distance
    weights = scores.masked_fill(distance < 0, float("-inf")).softmax(-1)
    expected = mixer.out((weights @ heads[2]).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixer(X, looking(6, 6, position=alibi)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bias_may_be_of_another_precision_than_the_queries(backend: str) -> None:
    tensors, bias = [normal(seed, 3, 4, 6, 4) for seed in range(3)], normal(3, 1, 4, 6, 6).bfloat16()
    mixed, same = (attend(backend, *tensors, added, looking(6, 6)) for added in (bias, bias.double()))
    assert torch.equal(mixed, same)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("backend", DROPPING)
def test_dropout_on_attention_weights_preserves_their_mean(backend: str, biased: bool) -> None:
    """With values that are the unit vectors, the output is the weights themselves."""
    torch.manual_seed(0)
    q, k = normal(0, 200, 4, 6, 6), normal(1, 200, 4, 6, 6)
    v = torch.eye(6, dtype=torch.float64).expand(200, 4, 6, 6)
    bias = torch.zeros(1, 4, 6, 6, dtype=torch.float64) if biased else None
    kept, dropped = (attend(backend, q, k, v, bias, looking(6, 6), p) for p in (0.0, 0.25))
    zeroed = (dropped == 0) & (kept != 0)
    assert zeroed.sum() / (kept != 0).sum() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(dropped[~zeroed], kept[~zeroed] / 0.75)
    assert zeroed[..., 0].all(-1).double().mean() < 0.05, "all queries lose the same key"


@pytest.mark.parametrize("backend", DROPPING)
def test_dropout_is_off_when_not_training(backend: str) -> None:
    mixer, plain = attention(backend, dropout=0.5), attention(backend)
    assert torch.equal(mixer.eval()(X, looking(6, 6)), plain(X, looking(6, 6)))
    assert not torch.equal(mixer.train()(X, looking(6, 6)), plain(X, looking(6, 6)))
