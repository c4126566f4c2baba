"""The decoder as a whole: caches, padding and positions change how tokens are handed in, never what comes out."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.components import CONFIG_PATHS, POSITION_FOR_HOOKS
from torch import Tensor, nn

from ablation.components.context import Cache
from ablation.errors import InputError
from ablation.model.weights import save_weights
from ablation.registry import REGISTRY

POSITIONS, BLOCKS = REGISTRY["position"], REGISTRY["block"]
BACKENDS = [
    name for name in REGISTRY["attention_backend"] if name != "flex"
]  # which test_attention_variants.py compares
PARTS = [
    (slot, name)
    for slot in ("position", "block", "norm", "attention_backend")
    for name in REGISTRY[slot]
    if name != "flex"
]
CACHEABLE = [name for name, mixer in REGISTRY["mixer"].items() if mixer.component.cacheable]
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
LEFT = torch.arange(12) >= torch.tensor([0, 4, 7])[:, None]
"""Where there is a token in three texts of 12, 8 and 5 tokens, padded in front."""


def mixer(name: str, backend: str) -> dict[str, Any]:
    takes = "backend" in REGISTRY["mixer"][name].hyperparameters()
    return {"name": name, "backend": backend} if takes else {"name": name}


def in_parts(model: nn.Module, sizes: Sequence[int], padding: Tensor | None = None) -> Tensor:
    """The outputs when the tokens come in parts, of the given sizes, and a cache keeps what was seen."""
    cache, parts, start = Cache(), [], 0
    for size in sizes:
        part = slice(start, start + size)
        parts.append(model(TOKENS[:, part], padding=None if padding is None else padding[:, part], cache=cache))
        start += size
    return torch.cat(parts, 1)


def assert_same(got: Tensor, expected: Tensor, where: Tensor | None = None) -> None:
    where = torch.ones(expected.shape[:2], dtype=torch.bool) if where is None else where
    torch.testing.assert_close(got[where], expected[where], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CACHEABLE)
@pytest.mark.parametrize(("slot", "part"), PARTS)
def test_step_by_step_with_a_cache_is_all_at_once(slot: str, part: str, name: str, make_model: Any) -> None:
    """Every mixer with every position, block, norm and backend, the others at the baseline."""
    changes = {"model.mixer": mixer(name, part if slot == "attention_backend" else "sdpa")}
    if slot != "position":
        changes["model.position"] = POSITION_FOR_HOOKS[REGISTRY["mixer"][name].component.position_hooks]
    if slot != "attention_backend":
        changes[CONFIG_PATHS[slot]] = part
    try:
        model = make_model(changes)
    except ValueError as refusal:
        assert name in str(refusal) or part in str(refusal)
        return
    with torch.no_grad():
        whole = model(TOKENS)
        assert_same(in_parts(model, [1] * 12), whole)
        assert_same(in_parts(model, [3] * 4), whole)


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CACHEABLE)
def test_cache_supports_grouped_heads_and_left_padding(
    name: str, backend: str, n_kv_heads: int, make_model: Any
) -> None:
    position = POSITION_FOR_HOOKS[REGISTRY["mixer"][name].component.position_hooks]
    changes = {"model.position": position, "model.mixer": mixer(name, backend), "model.n_kv_heads": n_kv_heads}
    try:
        model = make_model(changes)
    except ValueError as refusal:
        assert "n_kv_heads" in str(refusal) or backend in str(refusal)
        return
    with torch.no_grad():
        whole = model(TOKENS, padding=LEFT)
        for size in (1, 3, 6):
            assert_same(in_parts(model, [size] * (12 // size), LEFT), whole, LEFT)


@st.composite
def parts_of_twelve(draw: st.DrawFn) -> list[int]:
    cuts = sorted({0, 12, *draw(st.lists(st.integers(1, 11), max_size=5))})
    return [end - start for start, end in pairwise(cuts)]


@pytest.mark.parametrize("position", POSITIONS)
@given(
    sizes=parts_of_twelve(),
    padding=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=3, max_size=3).map(torch.tensor),
)
def test_padding_does_not_change_the_outputs_of_tokens(
    position: str, sizes: list[int], padding: Tensor, make_model: Any
) -> None:
    """Against each text on its own, without its padding: in front, behind or in between."""
    model = make_model({"model.position": position})
    with torch.no_grad():
        got = in_parts(model, sizes, padding)
        for text, outputs, real in zip(TOKENS, got, padding, strict=True):
            if real.any():
                assert_same(outputs[None, real], model(text[None, real]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("position", POSITIONS)
def test_padded_sequences_give_the_outputs_of_each_alone(
    position: str, block: str, backend: str, side: str, make_model: Any
) -> None:
    model = make_model({"model.position": position, "model.block": block, "model.mixer": mixer("attention", backend)})
    padding = LEFT if side == "left" else LEFT.flip(1)
    with torch.no_grad():
        together = model(TOKENS, padding=padding)
        for text, outputs, real in zip(TOKENS, together, padding, strict=True):
            assert_same(outputs[None, real], model(text[None, real]))
    model.train()
    model(TOKENS, padding=padding)[padding].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_padding_content_does_not_matter(make_model: Any) -> None:
    model = make_model()
    other = torch.where(LEFT, TOKENS, (TOKENS + 5) % 11)
    assert_same(model(other, padding=LEFT), model(TOKENS, padding=LEFT), LEFT)


@pytest.mark.parametrize("position", POSITIONS)
def test_empty_padding_changes_nothing(position: str, make_model: Any) -> None:
    model = make_model({"model.position": position})
    assert_same(model(TOKENS, padding=torch.ones_like(TOKENS, dtype=torch.bool)), model(TOKENS))


@pytest.mark.parametrize("position", POSITIONS)
def test_padding_may_begin_or_end_while_a_cache_is_in_use(position: str, make_model: Any) -> None:
    """The tokens of both texts: 0, 1, 2, 3, then 5 in the second where the first pauses, then 6 and 7 in both."""
    model, cache = make_model({"model.position": position}), Cache()
    texts = TOKENS[:2, :8]
    pause = torch.tensor([[False], [True]])
    got = [model(texts[:, :4], cache=cache)]
    got += [model(texts[:, 4:5], padding=pause, cache=cache), model(texts[:, 5:], cache=cache)]
    for row, kept in ((0, [0, 1, 2, 3, 5, 6, 7]), (1, list(range(8)))):
        assert_same(torch.cat(got, 1)[row : row + 1, kept], model(texts[row : row + 1, kept]))


@pytest.mark.parametrize("position", POSITIONS)
def test_positions_default_to_counting_and_may_be_given(position: str, make_model: Any) -> None:
    model = make_model({"model.position": position})
    counted = torch.arange(12)
    assert torch.equal(model(TOKENS, positions=counted), model(TOKENS))
    assert_same(model(TOKENS, positions=counted.expand(3, 12)), model(TOKENS))
    stretched = model(TOKENS, positions=(2 * counted).clamp(max=11))
    assert torch.equal(stretched, model(TOKENS)) == (position == "none")


@pytest.mark.parametrize("position", POSITIONS)
def test_counting_continues_from_given_positions(position: str, make_model: Any) -> None:
    model, cache = make_model({"model.position": position, "model.max_length": 32}), Cache()
    given = torch.arange(12) + torch.tensor([0, 5, 9])[:, None]
    parts = [model(TOKENS[:, :4], positions=given[:, :4], cache=cache), model(TOKENS[:, 4:], cache=cache)]
    assert_same(torch.cat(parts, 1), model(TOKENS, positions=given))


@pytest.mark.parametrize("position", [name for name in POSITIONS if name != "learned"])
def test_sequences_may_exceed_the_length_a_model_was_built_for(position: str, make_model: Any) -> None:
    changes = {"model.position": position}
    short, long = make_model(changes, length=4), make_model(changes, length=12)
    assert_same(short(TOKENS), long(TOKENS))
    assert_same(in_parts(short, [3] * 4), long(TOKENS))


def test_learned_positions_that_do_not_exist_are_named(make_model: Any) -> None:
    model, cache = make_model({"model.position": "learned"}, length=8), Cache()
    with pytest.raises(ValueError, match=r"learned positions end at 7, not at 11: raise model\.max_length"):
        model(TOKENS)
    model(TOKENS[:, :8], cache=cache)
    with pytest.raises(ValueError, match="learned positions end at 7, not at 8"):
        model(TOKENS[:, 8:9], cache=cache)


def test_max_length_below_the_length_of_the_task_is_refused(configure: Any) -> None:
    config = configure({"model.max_length": 8}).model
    assert config.build_context(8).max_length == 8
    with pytest.raises(ValueError, match="max_length 8 is shorter than the sequences of 12 tokens"):
        config.build_context(12)
    assert configure({"model.max_length": 64}).model.build_context(12).max_length == 64


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model.n_heads": 3}, "n_heads 3 does not divide d_model 16"),
        ({"model.n_kv_heads": 3}, "n_kv_heads 3 does not divide n_heads 4"),
        ({"model.n_kv_heads": 8}, "n_kv_heads 8 does not divide n_heads 4"),
    ],
)
def test_heads_that_do_not_divide_are_refused(changes: dict[str, int], why: str, configure: Any) -> None:
    with pytest.raises(InputError, match=why):
        configure(changes)


def test_embedding_and_lm_head_are_tied_by_default(make_model: Any) -> None:
    tied, apart = make_model({"model.tie_embeddings": True}), make_model({"model.tie_embeddings": False})
    streams: list[Tensor] = []
    for model in (tied, apart):
        model.stack.norm.register_forward_hook(lambda module, inputs, output: streams.append(output))
    assert_same(tied(TOKENS), streams[-1] @ tied.embedding.table.weight.T)
    assert_same(apart(TOKENS), streams[-1] @ apart.readout.table.weight.T)
    assert tied.readout.table is None and apart.readout.table.bias is None


def test_cache_holds_keys_and_values_of_every_token_once(make_model: Any) -> None:
    model, cache = make_model({"model.n_kv_heads": 2}), Cache()
    sizes = []
    for token in range(12):
        model(TOKENS[:, token : token + 1], cache=cache)
        sizes.append(cache.n_bytes)
    per_token = 2 * 2 * 2 * 4 * 8 * 3  # keys and values, layers, heads, features, bytes, texts
    assert sizes == [per_token * (token + 1) for token in range(12)]
    assert cache.positions.tolist() == list(range(12)) and cache.padding is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
def test_weights_may_be_read_by_whom_other_files_may(tmp_path: Path, make_model: Callable[..., nn.Module]) -> None:
    for umask in (0o022, 0o077):
        before = os.umask(umask)
        try:
            save_weights(make_model(), tmp_path / "weights.safetensors")
            (tmp_path / "other").touch()
        finally:
            os.umask(before)
        modes = [(tmp_path / name).stat().st_mode for name in ("weights.safetensors", "other")]
        assert modes[0] == modes[1]
        (tmp_path / "other").unlink()
        (tmp_path / "weights.safetensors").unlink()
