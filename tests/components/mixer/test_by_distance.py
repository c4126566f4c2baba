"""Terms by distance, in blocks: what long sequences give is what the formula of every pair gives."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from support.attention import GROUPED, SHAPE, build, normal, wide
from torch import Tensor, nn

from ablation.components.architecture.masks import bidirectional_context, causal_context
from ablation.components.attention_backend import ROWS, AttentionInputs, ManualBackend, SDPABackend, split_into
from ablation.components.context import Cache, ForwardContext
from ablation.components.mixer.by_distance import TILE
from ablation.components.position.base import Position

LENGTH = 2 * ROWS + TILE + 3
"""More than two blocks, the last of them short, and no whole number of tiles."""
MIXERS: dict[str, tuple[str, dict[str, Any]]] = {
    "shaw": ("shaw", {"clip": 3}),
    "shaw far": ("shaw", {"clip": 300}),
    "shaw keys": ("shaw", {"clip": 3, "values": False}),
    "transformer_xl": ("transformer_xl", {}),
    "disentangled": ("disentangled", {"buckets": 8, "max_distance": 100}),
    "disentangled in one block": ("disentangled", {"buckets": 8, "max_distance": 100, "backend": "manual"}),
    "content to position": ("disentangled", {"position_to_content": False}),
    "position to content": ("disentangled", {"content_to_position": False, "buckets": None, "max_distance": 70}),
}
TOKENS = normal(1, 2, LENGTH, 16)
Pass = Callable[[Tensor], ForwardContext]


def causal(x: Tensor, cache: Cache | None = None) -> ForwardContext:
    return causal_context(Position(SHAPE), x[..., 0], None, None, cache, None)


def both_ways(x: Tensor) -> ForwardContext:
    return bidirectional_context(Position(SHAPE), x[..., 0], None, None)


def mixer(name: str, is_causal: bool) -> nn.Module:
    registered, hyper = MIXERS[name]
    return wide(build("mixer", registered, replace(GROUPED, causal=is_causal), **hyper))


def output_and_gradients(module: nn.Module, context: ForwardContext) -> list[Tensor]:
    x = TOKENS.clone().requires_grad_()
    y = module(x, context)
    gradients = torch.autograd.grad((y * normal(2, *y.shape)).sum(), [x, *module.parameters()])
    return [y, *gradients]


@pytest.mark.parametrize("context", [causal, both_ways])
@pytest.mark.parametrize("name", MIXERS)
def test_distances_of_indices_give_what_those_of_positions_give(name: str, context: Pass) -> None:
    module, of_pass = mixer(name, context is causal), context(TOKENS)
    assert of_pass.consecutive
    found = output_and_gradients(module, of_pass)
    expected = output_and_gradients(module, replace(of_pass, consecutive=False))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("name", MIXERS)
def test_long_parts_continue_from_a_cache(name: str) -> None:
    module, cache = mixer(name, True), Cache()
    whole = module(TOKENS, causal(TOKENS))
    parts = [TOKENS[:, :70], TOKENS[:, 70:71], TOKENS[:, 71:]]
    found = torch.cat([module(part, causal(part, cache)) for part in parts], 1)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-8)


def test_positions_that_are_given_or_padded_are_not_taken_for_indices() -> None:
    positions, padding = 2 * torch.arange(LENGTH), torch.ones(2, LENGTH, dtype=torch.bool)
    ids, position = TOKENS[..., 0], Position(SHAPE)
    assert not causal_context(position, ids, positions, None, None, None).consecutive
    assert not causal_context(position, ids, None, padding, None, None).consecutive
    assert not bidirectional_context(position, ids, padding, None).consecutive
    cache = Cache()
    causal_context(position, ids, positions, None, cache, None)
    assert not causal(TOKENS, cache).consecutive, "those in the cache were given"
    context = causal(TOKENS)
    assert not context.of_keys(torch.arange(3)).consecutive


# --- blocks of the backend -------------------------------------------------------------------------------------------


Q, K, V = normal(3, 2, 4, LENGTH, 4), normal(4, 2, 2, LENGTH, 4), normal(5, 2, 2, LENGTH, 6)
TRIANGLE = torch.ones(1, 1, LENGTH, LENGTH, dtype=torch.bool).tril()
NO_KEYS = TRIANGLE & (torch.arange(LENGTH) >= torch.tensor([0, 80])[:, None])[:, None, None, :]
"""The second sequence begins later, so that its first queries have no key."""


@pytest.mark.parametrize("mask", [TRIANGLE, NO_KEYS], ids=["triangle", "queries without keys"])
@pytest.mark.parametrize("size", [(1, 4, LENGTH, LENGTH), (2, 4, LENGTH, LENGTH), (1, 4, 1, LENGTH)], ids=str)
def test_trained_bias_has_the_gradient_of_the_formula(mask: Tensor, size: tuple[int, ...]) -> None:
    found = []
    for backend in (ManualBackend(), SDPABackend()):
        tensors = [x.clone().requires_grad_() for x in (Q, K, V, normal(6, *size))]
        q, k, v, bias = tensors
        y = backend(AttentionInputs(q, k, v, mask, 0.5, bias, causal=mask is TRIANGLE))
        found.append([y, *torch.autograd.grad((y * normal(7, *y.shape)).sum(), tensors)])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("mixed", [False, True], ids=["bfloat16", "mixed"])
def test_scores_in_half_precision_are_added_up_in_single(mixed: bool) -> None:
    bias = normal(6, 1, 4, LENGTH, LENGTH)
    halves = [x.bfloat16() for x in (Q, K, V, bias)]
    exact = ManualBackend()(AttentionInputs(*(x.double() for x in halves[:3]), TRIANGLE, 0.3, halves[3].double()))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        q, k, v, bias = halves
        found = SDPABackend()(AttentionInputs(q, k, v, TRIANGLE, 0.3, causal=True, bias_of=partial(split_into, bias)))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)  # half of the last bit


@torch.no_grad()
def test_dropout_leaves_out_weights_and_scales_the_others() -> None:
    values = torch.eye(LENGTH, dtype=torch.float64).expand(2, 2, -1, -1)  # then the output is the weights

    def weights(dropout: float) -> Tensor:
        inputs = AttentionInputs(Q, K, values, TRIANGLE, 0.5, causal=True, dropout=dropout)
        output: Tensor = SDPABackend()(inputs)
        return output

    torch.manual_seed(0)
    dropped, whole = weights(0.25), weights(0.0)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
    assert kept[TRIANGLE.expand_as(kept)].double().mean() == pytest.approx(0.75, abs=0.01)
    assert not kept[~TRIANGLE.expand_as(kept)].any()
