"""A cache that grows by buffers: equal to what was computed at once, also where it is copied or gradients are wanted.

Shapes: B texts, L tokens.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.components.architecture.stack import CrossAttention
from ablation.components.context import Cache

TOKENS = torch.randint(11, (2, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(make_model: Any) -> nn.Module:
    return make_model({"model.position": "rope"}, length=24).eval()  # type: ignore[no-any-return]


def token_by_token(model: nn.Module, cache: Cache, start: int, end: int) -> Tensor:
    return torch.cat([model(TOKENS[:, i : i + 1], cache=cache) for i in range(start, end)], 1)


@pytest.mark.parametrize("gradients", [False, True])
def test_tokens_one_by_one_equal_all_at_once(model: nn.Module, gradients: bool) -> None:
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(token_by_token(model, Cache(), 0, 24), model(TOKENS))


def test_a_token_is_written_where_there_is_room_for_it(model: nn.Module) -> None:
    cache, places = Cache(), []
    with torch.no_grad():
        for i in range(24):
            token_by_token(model, cache, i, i + 1)
            places.append({tensor.data_ptr() for state in cache.states.values() for tensor in state})
    n_moves = sum(before != after for before, after in pairwise(places))
    assert n_moves <= 4, "room doubles: 1, 4, 10, 22, 46 tokens"


def test_two_copies_of_a_cache_go_on_without_each_other(model: nn.Module) -> None:
    first = Cache()
    with torch.no_grad():
        token_by_token(model, first, 0, 6)
        second = first.copy()
        token_by_token(model, first, 6, 9)  # written into the room behind what both have
        ahead = model(TOKENS[:, 20:21], cache=second.copy())
        again = model(TOKENS[:, 20:21], cache=second)
        rest = token_by_token(model, first, 9, 24)
    assert torch.equal(ahead, again)
    torch.testing.assert_close(rest, model(TOKENS)[:, 9:])


def test_gradients_pass_through_a_cache(model: nn.Module) -> None:
    cache = Cache()
    token_by_token(model, cache, 0, 6).sum().backward()
    by_parts = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    model(TOKENS[:, :6]).sum().backward()
    at_once = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    torch.testing.assert_close(by_parts, at_once)


@pytest.mark.parametrize("cross", ["attention", "differential"])
def test_keys_of_a_memory_are_computed_once(make_model: Any, cross: str) -> None:
    architecture = {"name": "encoder_decoder", "cross": cross}
    model = make_model({"model.architecture": architecture, "model.position": "rope"}, length=24).eval()
    blocks, calls = model.decoder.blocks, []
    for block in blocks:
        mixer = next(each.mixer for each in block.sublayers if isinstance(each, CrossAttention))
        mixer.key.register_forward_pre_hook(lambda key, arguments: calls.append(arguments[0].size(1)))
    source, cache = TOKENS[:, :7], Cache()
    with torch.no_grad():
        memory = model.encode(source)
        tokens = [model(TOKENS[:, i : i + 1], memory=memory, cache=cache) for i in range(10)]
        assert calls == [7] * len(blocks)
        torch.testing.assert_close(torch.cat(tokens, 1), model(TOKENS[:, :10], memory=memory))
    width = memory.size(-1)  # of all heads together
    assert cache.n_bytes == len(blocks) * 2 * len(source) * (7 + 10) * width * 8, "of the memory and of the target"
