"""A cache keeps of a window what the next token can see, and nothing that was evicted is missed.

Shapes: B texts, L tokens.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ablation.components.context import Cache
from ablation.model.generate import SamplingParams, generate

LENGTH, LAYERS, HEADS, D = 20, 2, 4, 4
TOKENS = torch.randint(11, (3, LENGTH), generator=torch.Generator().manual_seed(0))
GREEDY = SamplingParams(temperature=0)
WINDOWS = [1, 2, 3, 7, 20, 30]


def windowed(window: int, **more: Any) -> dict[str, Any]:
    return {"model.mixer": {"name": "attention", "window": window, **more}}


MODELS: dict[str, dict[str, Any]] = {
    **{f"window of {window}": {**windowed(window), "model.position": "rope"} for window in WINDOWS},
    "bias": {**windowed(3), "model.position": "alibi"},
    "trained bias": {**windowed(4, backend="manual", sinks=True), "model.position": "t5"},
    "positions in the embeddings": {**windowed(3), "model.position": "learned", "model.max_length": 40},
    "grouped heads": {**windowed(3, gate="head"), "model.n_kv_heads": 2, "model.position": "none"},
    "value residual": {**windowed(3, value_residual=True), "model.position": "rope"},
    "one layer in two": {
        "model.position": "rope",
        "model.n_layers": 4,
        "model.layers": [{"every": 2, "set": {"mixer.window": 3}}],
    },
    "two windows": {
        **windowed(5),
        "model.position": "rope",
        "model.layers": [{"last": 1, "set": {"mixer.window": 2}}],
    },
}


@st.composite
def parts(draw: st.DrawFn) -> list[int]:
    """Sizes that add up to the length."""
    cuts = sorted({0, LENGTH, *draw(st.lists(st.integers(1, LENGTH - 1), max_size=8))})
    return [end - start for start, end in pairwise(cuts)]


def in_parts(model: nn.Module, sizes: list[int], padding: Tensor | None = None) -> tuple[Tensor, Cache]:
    """The outputs (B, L, V) when the tokens come in parts, and the cache after them."""
    cache = Cache()
    masks = [None] * len(sizes) if padding is None else padding.split(sizes, 1)
    texts = zip(TOKENS.split(sizes, 1), masks, strict=True)
    return torch.cat([model(text, padding=mask, cache=cache) for text, mask in texts], 1), cache


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest, make_model: Any) -> nn.Module:
    """Built once for all that is tried on it."""
    return make_model(MODELS[request.param], length=LENGTH)  # type: ignore[no-any-return]


of_every_kind = pytest.mark.parametrize("model", MODELS, indirect=True)


@of_every_kind
@given(sizes=parts())
@torch.no_grad()
def test_outputs_with_eviction_are_those_of_one_pass(model: nn.Module, sizes: list[int]) -> None:
    torch.testing.assert_close(in_parts(model, sizes)[0], model(TOKENS), rtol=0, atol=1e-10)


@of_every_kind
@given(
    sizes=parts(),
    padding=st.lists(st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH), min_size=3, max_size=3),
)
@torch.no_grad()
def test_padding_anywhere_takes_no_place_in_a_window(
    model: nn.Module, sizes: list[int], padding: list[list[bool]]
) -> None:
    """Against each text on its own, without its padding."""
    where = torch.tensor(padding)
    got, _ = in_parts(model, sizes, where)
    for text, outputs, real in zip(TOKENS, got, where, strict=True):
        if real.any():
            torch.testing.assert_close(outputs[None, real], model(text[None, real]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_cache_holds_one_token_less_than_the_window(window: int, padded: bool, make_model: Any) -> None:
    """The next token is the last of its window. The memory of what was evicted is free."""
    model, cache = make_model(windowed(window), length=LENGTH), Cache()
    padding = torch.arange(LENGTH) >= torch.tensor([0, 4, 9])[:, None] if padded else None
    for seen in range(4, LENGTH + 1, 4):
        part = slice(seen - 4, seen)
        model(TOKENS[:, part], padding=None if padding is None else padding[:, part], cache=cache)
        kept = min(seen, window - 1)
        assert cache.n_bytes == 2 * 8 * LAYERS * 3 * HEADS * D * kept
        states = [tensor for state in cache.states.values() for tensor in state]
        assert sum(x.untyped_storage().nbytes() for x in states) == cache.n_bytes
    assert max(WINDOWS) > LENGTH > min(WINDOWS)


@of_every_kind
@torch.no_grad()
def test_generation_beyond_the_window_is_that_without_a_cache(model: nn.Module) -> None:
    expected = TOKENS[:, :2]
    for _ in range(25):
        expected = torch.cat([expected, model(expected)[:, -1:].argmax(-1)], 1)
    assert torch.equal(generate(model, TOKENS[:, :2], 25, GREEDY), expected)


@pytest.mark.parametrize("architecture", ["encoder_decoder", "prefix_decoder"])
@torch.no_grad()
def test_writers_of_targets_evict_too(architecture: str, make_model: Any) -> None:
    model = make_model({**windowed(3), "model.architecture": architecture, "model.position": "rope"}, length=LENGTH)
    expected, memory = TOKENS[:, :1], model.encode(TOKENS)
    for _ in range(12):
        expected = torch.cat([expected, model(expected, source=TOKENS)[:, -1:].argmax(-1)], 1)
    assert torch.equal(generate(model, TOKENS[:, :1], 12, GREEDY, memory=memory), expected)


@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_reordered_sequences_keep_their_own_window(padded: bool, make_model: Any) -> None:
    model, cache, chosen = make_model(windowed(4), length=2 * LENGTH), Cache(), torch.tensor([2, 0, 2, 1])
    padding = torch.arange(LENGTH) < torch.tensor([20, 13, 18])[:, None] if padded else None
    model(TOKENS, padding=padding, cache=cache)
    other = cache.copy()
    cache.select(chosen)
    new = TOKENS[[0, 1, 2, 0], :3]
    both, real = torch.cat([TOKENS[chosen], new], 1), None
    if padding is not None:
        real = torch.cat([padding[chosen], torch.ones_like(new).bool()], 1)
    got = model(new, cache=cache)
    torch.testing.assert_close(got, model(both, padding=real)[:, -3:], rtol=0, atol=1e-10)
    for going_on in (other.copy(), other):  # each copy goes on from where it was made
        again = model(new[1:2].expand(3, -1), cache=going_on)
        torch.testing.assert_close(again[0], got[1], rtol=0, atol=1e-10)
