"""What is counted without training, against a hand's arithmetic and against models that were really built."""

from typing import Any

import pytest
import torch
from support.components import MODEL_COMPONENTS, settings_for

from ablation.components.context import Cache
from ablation.components.mixer.base import RecurrentMixer
from ablation.model.build import build_model, build_uninitialized
from ablation.model.counts import count_inference_cost, count_parameters
from ablation.registry import REGISTRY
from ablation.tasks.generated.copying import Copy

V, L, M, H, LAYERS, WIDTH = 11, 12, 16, 4, 2, 64
D = M // H


def task(length: int = L) -> Copy:
    """Texts of ``length`` tokens out of V."""
    return Copy(symbols=V - 1, length=length, validation_examples=1)


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_a_hands_arithmetic(n_kv_heads: int, tied: bool, configure: Any) -> None:
    attention = 2 * M * H * D + 2 * M * n_kv_heads * D
    layer = attention + 2 * M * WIDTH + 2 * 2 * M
    tables = V * M * (1 if tied else 2)
    counts = count_parameters(configure({"model.n_kv_heads": n_kv_heads, "model.tie_embeddings": tied}).model, V, L)
    assert counts.parameters == tables + LAYERS * layer + 2 * M
    assert counts.embedding_parameters == tables
    assert counts.as_dict() == {"parameters": counts.parameters, "embedding_parameters": tables}


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"model.position": "learned"}, L * M),
        ({"model.position": "learned", "model.max_length": 20}, 20 * M),
        ({"model.position": "t5"}, 32 * H),
        ({"model.position": "alibi"}, 0),
        ({"model.block": "post_norm"}, -2 * M),
        ({"model.block": "sandwich"}, LAYERS * 2 * 2 * M),
        ({"model.block": "parallel"}, -LAYERS * 2 * M),
        ({"model.norm": "rms_norm"}, -5 * M),
        ({"model.norm": "none"}, -5 * 2 * M),
        ({"model.mixer": {"name": "attention", "bias": True}}, LAYERS * 4 * M),
        ({"model.feedforward": {"name": "mlp", "bias": True}}, LAYERS * (WIDTH + M)),
        ({"model.feedforward": {"name": "glu"}}, LAYERS * (3 * 40 - 2 * WIDTH) * M),
        ({"model.n_layers": 3}, 2 * M * H * D + 2 * M * H * D + 2 * M * WIDTH + 2 * 2 * M),
    ],
)
def test_exchange_costs_what_it_adds(changes: dict[str, Any], more: int, configure: Any) -> None:
    assert (
        count_parameters(configure(changes).model, V, L).parameters
        - count_parameters(configure().model, V, L).parameters
        == more
    )


def test_learned_positions_are_a_table_of_vectors_too(configure: Any) -> None:
    counts = count_parameters(configure({"model.position": "learned", "model.tie_embeddings": False}).model, V, L)
    assert counts.embedding_parameters == 2 * V * M + L * M


@pytest.mark.parametrize(("slot", "name"), MODEL_COMPONENTS)
def test_counted_parameters_equal_trained_ones(slot: str, name: str, configure: Any) -> None:
    config = configure(settings_for(slot, name)).model
    uninitialized, model = build_uninitialized(config, V, L, device="meta"), build_model(config, V, L, 0)
    sizes = {path: parameter.shape for path, parameter in model.named_parameters()}
    assert {path: parameter.shape for path, parameter in uninitialized.named_parameters()} == sizes
    assert count_parameters(config, V, L).parameters == sum(size.numel() for size in sizes.values())


@pytest.mark.parametrize("length", [12, 24])
@pytest.mark.parametrize("backend", REGISTRY["attention_backend"])
@pytest.mark.parametrize("n_kv_heads", [4, 1])
@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_flops_are_two_per_weight_and_per_pair_of_tokens(
    position: str, n_kv_heads: int, backend: str, length: int, configure: Any
) -> None:
    """Per token 2 x the weights of all maps, and in each layer 2 x (q k^T, and weights x v) over all keys."""
    identities = LAYERS * 4 * M * M if backend == "torch_mha" else 0  # between which it computes, by design
    mixer = {"name": "attention", "backend": backend}
    changes = {"model.n_kv_heads": n_kv_heads, "model.mixer": mixer, "model.position": position}
    weights = LAYERS * (2 * M * M + 2 * M * n_kv_heads * D + 2 * M * WIDTH) + V * M
    work = count_inference_cost(configure(changes).model, task(length))
    assert work.flops_per_token == 2 * (weights + identities) + LAYERS * 2 * 2 * length * H * D


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_cache_grows_by_float32_keys_and_values_per_layer_and_head(n_kv_heads: int, configure: Any) -> None:
    config = configure({"model.n_kv_heads": n_kv_heads}).model
    work = count_inference_cost(config, task())
    assert work.cache_bytes_per_token == 2 * LAYERS * n_kv_heads * D * 4
    cache = Cache()
    build_model(config, V, L, 0)(torch.zeros(1, L, dtype=torch.long), cache=cache)
    assert cache.n_bytes == L * work.cache_bytes_per_token


@pytest.mark.parametrize("window", [1, 3, 5, L, L + 1, 40])
@pytest.mark.parametrize("n_kv_heads", [4, 1])
@pytest.mark.parametrize("backend", ["manual", "sdpa", "flex"])
def test_window_costs_what_it_shows(backend: str, n_kv_heads: int, window: int, configure: Any) -> None:
    """Products with as many keys as the window has, and a cache of one token less, which no longer grows."""
    mixer = {"name": "attention", "backend": backend, "window": window}
    config = configure({"model.n_kv_heads": n_kv_heads, "model.mixer": mixer, "model.position": "alibi"}).model
    work, seen = count_inference_cost(config, task()), min(window, L)
    weights = LAYERS * (2 * M * M + 2 * M * n_kv_heads * D + 2 * M * WIDTH) + V * M
    assert work.flops_per_token == 2 * weights + LAYERS * 2 * 2 * seen * H * D
    per_token = 2 * LAYERS * n_kv_heads * D * 4
    assert work.cache_bytes == per_token * min(window - 1, L)
    assert work.cache_bytes_per_token == (per_token if window > L else 0)
    model, cache = build_model(config, V, L, 0), Cache()
    if backend != "flex":
        with torch.no_grad():
            model(torch.zeros(1, L, dtype=torch.long), cache=cache)
        assert cache.n_bytes == work.cache_bytes


@pytest.mark.parametrize("window", [1, 3, 6, 7, 40])
def test_window_in_both_directions_costs_both(window: int, configure: Any) -> None:
    mixer = {"name": "attention", "window": window}
    config = configure({"model.mixer": mixer, "model.architecture": "encoder"}).model
    encoder = count_inference_cost(config, task())
    full = count_inference_cost(configure({"model.architecture": "encoder"}).model, task())
    assert full.flops_per_token - encoder.flops_per_token == LAYERS * 4 * H * D * (L - min(L, 2 * window - 1))
    assert encoder.cache_bytes is encoder.cache_bytes_per_token is None


@pytest.mark.parametrize(
    ("mixer", "numbers"),
    [
        ({"name": "lstm", "expansion": 0.5}, 2 * M // 2),  # c and h
        ({"name": "gru", "expansion": 0.5}, M // 2),
        ({"name": "linear_attention", "normalize": False}, H * D * D),
        ({"name": "linear_attention"}, H * D * (D + 1)),  # and the sums of the keys
        ({"name": "convolution", "kernel_size": 4}, 3 * M),
        ({"name": "gla", "key_expansion": 0.5}, H * D // 2 * D),
        ({"name": "delta", "kernel_size": None}, H * D * D),
        ({"name": "mamba", "expansion": 1.5, "state": 5, "kernel_size": 3}, 24 * (5 + 2)),
    ],
)
@pytest.mark.parametrize("length", [6, 12, 48])
def test_state_of_fixed_size_shows_its_bytes(mixer: dict[str, Any], numbers: int, length: int, configure: Any) -> None:
    """By hand: the numbers of the state in each layer, 4 bytes each, at any length."""
    config = configure({"model.mixer": mixer, "model.position": "none", "model.max_length": 48}).model
    work = count_inference_cost(config, task(length))
    assert (work.cache_bytes, work.cache_bytes_per_token) == (LAYERS * numbers * 4, 0)


@pytest.mark.parametrize("name", REGISTRY["mixer"])
def test_cache_grows_by_what_one_more_token_really_adds(name: str, configure: Any) -> None:
    """Nothing in mixers that hand on a state of fixed size, however large it is."""
    config = configure(settings_for("mixer", name)).model
    model, cache, sizes = build_model(config, V, L, 0), Cache(), []
    for token in torch.zeros(1, L, dtype=torch.long).split(1, 1):
        model(token, cache=cache)
        sizes.append(cache.n_bytes)
    work = count_inference_cost(config, task())
    assert (work.cache_bytes, work.cache_bytes_per_token) == (sizes[-1], sizes[-1] - sizes[-2])
    mixer = REGISTRY["mixer"][name].component
    fixed = mixer.left_out or (issubclass(mixer, RecurrentMixer) and name != "hyena")
    assert (sizes[-1] == sizes[-2]) == fixed


@pytest.mark.parametrize("extrapolate", [1, 4])
@pytest.mark.parametrize("name", ["attention", "lstm", "hyena"])
def test_longer_validation_enlarges_the_table_of_positions_only(name: str, extrapolate: int, configure: Any) -> None:
    config = configure({"model.mixer": name, "model.position": "learned"}).model
    copy = Copy(symbols=V - 1, length=L, validation_examples=1, extrapolate=extrapolate)
    assert count_inference_cost(config, copy) == count_inference_cost(config, task())
    more = (extrapolate - 1) * L * M
    assert count_parameters(config, V, copy.longest).parameters == count_parameters(config, V, L).parameters + more


def test_model_that_cannot_be_built_cannot_be_counted(configure: Any) -> None:
    config = configure({"model.n_heads": 16, "model.position": "rope"}).model  # heads of one feature
    with pytest.raises(ValueError, match="d_head 1 is odd"):
        count_parameters(config, V, L)
