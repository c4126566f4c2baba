"""First weights: how wide, and drawn from nothing but the seed and their own path."""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.components import CONFIG_PATHS, settings_for
from torch import Tensor, nn

from ablation.components.base import role_of
from ablation.model.build import build_model, initialize
from ablation.model.counts import count_parameters
from ablation.registry import REGISTRY
from ablation.rng import derive, generator

WIDE = {"model.d_model": 64, "model.tie_embeddings": False, "model.position": "learned"}
BIASED = {
    "model.mixer": {"name": "attention", "bias": True},
    "model.feedforward": {"name": "mlp", "activation": "gelu", "expansion": 4, "bias": True},
}
# "pretrained" reads a checkpoint: tests/checkpoints/test_import.py
SCHEMES = [name for name in REGISTRY["initialization"] if name != "pretrained"]
EXCHANGED = [
    (CONFIG_PATHS[slot], name)
    for slot in ("embedding", "lm_head", "position", "block", "norm", "mixer", "feedforward", "residual")
    for name in REGISTRY[slot]
]
EXCHANGED += [("model.n_kv_heads", 2), ("model.n_heads", 2), ("model.dropout", 0.5), ("model.tie_embeddings", False)]
EXCHANGED += [("model.n_layers", 3), ("model.mixer", {"name": "attention", "bias": True, "backend": "manual"})]


@pytest.fixture(scope="module")
def build(configure: Callable[..., Any]) -> Callable[..., nn.Module]:
    def make(changes: dict[str, Any] | None = None, seed: int = 0, length: int = 12) -> nn.Module:
        return build_model(configure(changes).model, 11, length, seed)

    return make


def weights_by_role(model: nn.Module) -> dict[str, list[Tensor]]:
    """Weights of the linear maps by their role, and the tables of embeddings."""
    weights: dict[str, list[Tensor]] = defaultdict(list)
    for module in model.modules():
        role = "embedding" if isinstance(module, nn.Embedding) else role_of(module)
        if role is not None:
            weights[role].append(module.weight)
    return weights


@pytest.mark.parametrize("n_layers", [2, 8])
def test_gpt2_is_normal_and_scales_down_output_projections(n_layers: int, build: Any) -> None:
    model = build({**WIDE, "model.n_layers": n_layers, "model.initialization": "gpt2"}, length=64)
    weights = weights_by_role(model)
    numbers = {"out_projection": 2 * n_layers, "linear": 4 * n_layers, "lm_head": 1, "embedding": 2}
    assert {role: len(of_role) for role, of_role in weights.items()} == numbers
    for role in numbers:
        width = 0.02 / math.sqrt(2 * n_layers) if role == "out_projection" else 0.02
        for weight in weights[role]:
            assert weight.std().item() == pytest.approx(width, rel=4 / math.sqrt(2 * weight.numel()))
            assert abs(weight.mean().item()) < 5 * width / math.sqrt(weight.numel())
        standard = torch.cat([weight.flatten() for weight in weights[role]]) / width
        assert (standard.abs() > 1).float().mean().item() == pytest.approx(0.3173, abs=0.03), "not normal"


def test_gpt2_uses_the_given_std(build: Any) -> None:
    plain = build({"model.initialization": {"name": "gpt2", "std": 0.02}}).state_dict()
    for path, weight in build({"model.initialization": {"name": "gpt2", "std": 0.06}}).state_dict().items():
        if "norm" not in path:
            torch.testing.assert_close(weight, 3 * plain[path])


def test_xavier_is_uniform_by_fan_in_plus_fan_out(build: Any) -> None:
    weights = weights_by_role(build({**WIDE, "model.initialization": "xavier"}, length=64))
    for weight in weights["out_projection"] + weights["linear"] + weights["lm_head"]:
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.97 * bound < weight.abs().max().item() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.06)
    for table in weights["embedding"]:
        assert table.std().item() == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize("name", SCHEMES)
def test_shifts_start_at_zero_and_gains_at_one(name: str, build: Any) -> None:
    state = build({**BIASED, "model.initialization": name}).state_dict()
    shifts = [value for path, value in state.items() if path.endswith("bias")]
    gains = [value for path, value in state.items() if "norm" in path and path.endswith("weight")]
    assert len(shifts) == 2 * (4 + 2 + 2) + 1 and len(gains) == 2 * 2 + 1
    assert not any(shift.any() for shift in shifts)
    assert all((gain == 1).all() for gain in gains)


def test_t5_bias_table_is_initialized_as_in_mesh_tensorflow(build: Any) -> None:
    tables = [
        build({**WIDE, "model.position": "t5", "model.initialization": name}).stack.position.table for name in SCHEMES
    ]
    assert tables[0].std().item() == pytest.approx(64**-0.5, rel=0.2)
    assert all(torch.equal(table, tables[0]) for table in tables)


@pytest.mark.parametrize(("path", "value"), EXCHANGED)
def test_tensors_common_to_two_models_start_equal(path: str, value: Any, build: Any) -> None:
    changes = settings_for("mixer", value) if path == "model.mixer" and isinstance(value, str) else {path: value}
    baseline, other = build().state_dict(), build(changes).state_dict()
    shared = [key for key in baseline if key in other and baseline[key].shape == other[key].shape]
    scaled, scale = (), 1.0
    if path == "model.n_layers":
        scaled, scale = ("out.weight", "down.weight"), math.sqrt(2 / 3)
    elif value == "deepnorm":  # draws what stands between stream and stream beta times as large, by design
        scaled, scale = ("value.weight", "out.weight", "up.weight", "down.weight"), (4 * 2 * 2) ** -0.25
    assert len(shared) >= 8
    for key in shared:
        if scaled and key.endswith(scaled):  # the same numbers, of another width
            torch.testing.assert_close(baseline[key] * scale, other[key])
        else:
            assert torch.equal(baseline[key], other[key]), key


def test_every_tensor_has_numbers_of_its_own(build: Any) -> None:
    directions = [value.flatten()[:8] for value in build({"model.tie_embeddings": False}).state_dict().values()]
    directions = [value / value.norm() for value in directions if value.std() > 0]
    assert len(directions) == 2 * 6 + 2
    for number, one in enumerate(directions):
        assert all(torch.dot(one, other).abs() < 0.999 for other in directions[:number])


def test_seed_decides_the_initial_weights(build: Any) -> None:
    first, again, other = build().state_dict(), build().state_dict(), build(seed=1).state_dict()
    for key, value in first.items():
        assert torch.equal(value, again[key])
        assert torch.equal(value, other[key]) == ("norm" in key), key


@pytest.mark.parametrize(
    "slot",
    [
        slot
        for slot, place in CONFIG_PATHS.items()
        if (place or "").startswith("model.") and slot not in ("architecture", "pooling")
    ],
)
def test_all_weights_are_set_after_their_constructor(slot: str, configure: Any) -> None:
    """Numbers that torch's global generator drew would depend on what else was built."""
    for name in SCHEMES if slot == "initialization" else REGISTRY[slot]:
        config = configure(settings_for(slot, name)).model
        shape = config.build_context(12)
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            model = config.architecture.build(config.parts(), shape, 11, None)
            initialize(model, config.initialization.build(shape), seed=0)
            states.append(model.state_dict())
        for path, value in states[0].items():
            assert torch.equal(value, states[1][path]), f"{slot} {name}: {path}"


def test_building_is_independent_of_torchs_global_generator(
    build: Any, configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(seed: int) -> None:
        raise AssertionError("generators of accelerators are not put back afterwards")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    torch.default_generator.manual_seed(1)
    before = torch.get_rng_state()
    first = build({"model.position": "learned"}).state_dict()
    count_parameters(configure().model, 11, 12)
    assert torch.equal(torch.get_rng_state(), before)
    torch.default_generator.manual_seed(2)
    second = build({"model.position": "learned"}).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_random_numbers_depend_on_their_purpose_only() -> None:
    purposes = [(0,), (1,), (0, "a"), (1, "a"), (0, "a", 1), (0, "a", 2), (0, 1, "a"), (11, "a"), (1, "1a")]
    assert len({derive(*purpose) for purpose in purposes}) == len(purposes)
    assert all(0 <= derive(*purpose) < 2**63 for purpose in purposes)
    first = torch.rand(4, generator=generator(3, "x"))
    torch.rand(100)
    assert torch.equal(first, torch.rand(4, generator=generator(3, "x")))
