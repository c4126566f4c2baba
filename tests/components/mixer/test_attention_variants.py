"""Every kind of attention: against transformers' modules, every backend, the cache, and what is refused."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.attention import GROUPED, SHAPE, X, build, normal, wide
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ablation.components.architecture.masks import bidirectional_context, causal_context
from ablation.components.base import BuildContext, role_of
from ablation.components.context import Cache, ForwardContext
from ablation.components.mixer.attention import Attention
from ablation.components.mixer.base import split_heads
from ablation.components.mixer.disentangled import Disentangled
from ablation.components.position.base import Position
from ablation.registry import REGISTRY

BACKENDS = list(REGISTRY["attention_backend"])
# What the two layers of a small stack are, and how tokens are placed.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "plain": ("attention", {}, "rope"),
    "biases": ("attention", {"bias": True, "out_bias": False}, "alibi"),
    "numeric scale": ("attention", {"scale": 0.3}, "t5"),
    "qk rms": ("attention", {"qk_norm": "rms"}, "rope"),
    "qk rms over the full width": ("attention", {"qk_norm": "rms_full"}, "rope"),
    "qk l2": ("attention", {"qk_norm": "l2"}, "rope"),
    "soft cap": ("attention", {"soft_cap": 2.0}, "rope"),
    "soft cap and bias": ("attention", {"soft_cap": 2.0}, "alibi"),
    "sinks": ("attention", {"sinks": True}, "rope"),
    "gate per head": ("attention", {"gate": "head"}, "rope"),
    "gate per feature": ("attention", {"gate": "feature"}, "rope"),
    "window": ("attention", {"window": 3}, "rope"),
    "window and bias": ("attention", {"window": 2}, "alibi"),
    "value residual": ("attention", {"value_residual": True}, "rope"),
    "keys made as queries": ("attention", {"tied_projections": "query_key", "bias": True}, "rope"),
    "values made as keys": ("attention", {"tied_projections": "key_value"}, "alibi"),
    "dropout": ("attention", {"dropout": 0.5}, "rope"),
    "everything": (
        "attention",
        {"qk_norm": "rms", "soft_cap": 3.0, "sinks": True, "gate": "head", "window": 3, "value_residual": True},
        "rope",
    ),
    "latent": ("latent", {}, "none"),
    "latent queries": ("latent", {"query_rank": 6, "rank": 5, "rope": 4, "bias": True}, "none"),
    "differential": ("differential", {}, "rope"),
    "differential and bias": ("differential", {"bias": True}, "alibi"),
    "shaw": ("shaw", {"clip": 3}, "none"),
    "shaw keys": ("shaw", {"clip": 3, "values": False, "bias": True}, "none"),
    "transformer_xl": ("transformer_xl", {}, "none"),
    "disentangled": ("disentangled", {"buckets": 4, "max_distance": 8}, "none"),
    "disentangled apart": (
        "disentangled",
        {"buckets": None, "max_distance": 5, "share_projections": False, "table_norm": False, "bias": True},
        "none",
    ),
    "position to content": ("disentangled", {"content_to_position": False, "buckets": 4, "max_distance": 8}, "none"),
}
FEATURES = {
    "soft cap": "soft_cap",
    "soft cap and bias": "soft_cap",
    "sinks": "sinks",
    "everything": "sinks",
    "dropout": "dropout",
    "latent": "value_dim",
    "latent queries": "value_dim",
    "differential": "value_dim",
    "differential and bias": "value_dim",
}
REFUSED = {
    *[("sdpa", "soft_cap"), ("sdpa", "sinks"), ("flex", "sinks"), ("flex", "dropout")],
    *[("torch_mha", "soft_cap"), ("torch_mha", "sinks"), ("torch_mha", "value_dim")],
}
# Flex is compiled for every case: slow, and where the mask alone differs, two cases stand for all.
EVERY_BACKEND = [pytest.param(name, marks=[pytest.mark.slow] if name == "flex" else []) for name in BACKENDS]
FEW = [
    pytest.param(case, backend, marks=[pytest.mark.slow] if backend == "flex" else [])
    for case in CASES
    for backend in BACKENDS
    if backend != "flex" or case in ("plain", "soft cap and bias")
]
every_case = pytest.mark.parametrize("case", CASES)


class Layers(nn.Module):
    """Two layers of a mixer on the residual stream, and their position."""

    def __init__(self, case: str, backend: str | None, shape: BuildContext):
        super().__init__()
        mixer, hyper, position = CASES[case]
        if backend is not None and "backend" in REGISTRY["mixer"][mixer].hyperparameters():
            hyper = {**hyper, "backend": backend}
        if mixer == "latent" or hyper.get("tied_projections") == "query_key":  # which refuse fewer keys than queries
            shape = replace(shape, n_kv_heads=shape.n_heads)
        self.position = build("position", position, shape)
        self.mixers = nn.ModuleList(build("mixer", mixer, replace(shape, layer=layer), **hyper) for layer in (0, 1))

    def forward(self, x: Tensor, padding: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        return self.through(x, causal_context(self.position, x[..., 0], None, padding, cache, None))

    def through(self, x: Tensor, context: ForwardContext) -> Tensor:
        for mixer in self.mixers:
            x = x + mixer(x, context)
        return x


def layers(case: str, backend: str | None = "manual", shape: BuildContext = SHAPE) -> Any:
    return wide(Layers(case, backend, shape))


PADDING = torch.arange(9) >= 2 * torch.arange(3)[:, None]  # on the left, none in the first text


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@every_case
@torch.no_grad()
def test_variants_match_the_formula_on_every_backend(case: str, backend: str) -> None:
    if (backend, FEATURES.get(case)) in REFUSED:
        with pytest.raises(ValueError, match=f"backend '{backend}' does not support {FEATURES[case]}: choose .*manual"):
            Layers(case, backend, SHAPE)
        return
    slow = backend == "flex"  # traces every shape anew
    for shape, padding in [(GROUPED, PADDING)] if slow else [(SHAPE, None), (SHAPE, PADDING), (GROUPED, PADDING)]:
        model, truth = layers(case, backend, shape), layers(case, "manual", shape)
        assert [tuple(p.shape) for p in model.parameters()] == [tuple(p.shape) for p in truth.parameters()]
        whole, cache, read = truth(X, padding), Cache(), []
        torch.testing.assert_close(model(X, padding), whole, rtol=0, atol=1e-6)
        assert all(mixer.cacheable for mixer in model.mixers)
        for start, end in [(0, 8), (8, 9)] if slow else [(0, 4), (4, 5), (5, 8), (8, 9)]:
            part = slice(start, end)
            read.append(model(X[:, part], None if padding is None else padding[:, part], cache))
        torch.testing.assert_close(torch.cat(read, 1), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", ["sdpa", "torch_mha"])
@every_case
def test_every_backend_that_trains_has_gradients_of_formula(case: str, backend: str) -> None:
    if (backend, FEATURES.get(case)) in REFUSED:
        return
    gradients = []
    for name in ("manual", backend):
        model = layers(case, name, GROUPED)
        (model(X, PADDING) * normal(5, *X.shape)).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for expected, got in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-6)


def test_flex_refuses_to_train_on_a_cpu_before_it_computes() -> None:
    with pytest.raises(ValueError, match="flex' cannot train on a CPU: choose sdpa or manual"):
        layers("plain", "flex")(X)


@every_case
def test_variants_are_causal_and_every_parameter_learns(case: str) -> None:
    model = layers(case)
    y = model(X)
    y.square().sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), path
        # The farther half of DeBERTa's table is the future's; keys' shifts cancel in the softmax.
        assert parameter.grad.abs().max() > 1e-9 or path.endswith("key.bias"), path
    with torch.no_grad():  # both passes: with gradients torch takes other products, which round otherwise
        y = model(X)
        for token in range(9):
            other = X.clone()
            other[:, token] += 1
            moved = (model(other) - y).abs().amax((0, 2))
            assert not moved[:token].any() and moved[token] > 1e-6
            assert torch.equal(model(other), model(other))


@every_case
@torch.no_grad()
def test_padding_on_either_side_leaves_the_real_tokens_alone(case: str) -> None:
    model, text = layers(case), X[:1, :6]
    alone = model(text)
    left = model(torch.cat([normal(7, 1, 3, 16), text], 1), torch.tensor([[False] * 3 + [True] * 6]))
    right = model(torch.cat([text, normal(7, 1, 3, 16)], 1), torch.tensor([[True] * 6 + [False] * 3]))
    torch.testing.assert_close(left[:, 3:], alone, rtol=0, atol=1e-9)
    torch.testing.assert_close(right[:, :6], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("case", "backend"), FEW)
@torch.no_grad()
def test_variants_attend_both_ways_in_an_encoder(case: str, backend: str) -> None:
    if (backend, FEATURES.get(case)) in REFUSED:
        return
    shape = replace(SHAPE, causal=False)
    model, truth = layers(case, backend, shape), layers(case, "manual", shape)

    def encode(model: Any, x: Tensor, padding: Tensor) -> Tensor:
        return model.through(x, bidirectional_context(model.position, x[..., 0], padding, None))

    y = encode(model, X, PADDING)
    torch.testing.assert_close(y, encode(truth, X, PADDING), rtol=0, atol=1e-6)
    torch.testing.assert_close(y[1:2, 2:], encode(truth, X[1:2, 2:], PADDING[1:2, 2:]), rtol=0, atol=1e-6)
    other = X.clone()
    other[:, 8] += 1
    assert (encode(model, other, PADDING) - y)[0, 7].abs().max() > 1e-6


@pytest.mark.parametrize(("case", "backend"), FEW)
@torch.no_grad()
def test_variants_support_cross_attention_or_give_the_reason(case: str, backend: str) -> None:
    if (backend, FEATURES.get(case)) in REFUSED:
        return
    seen = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    shape, memory = replace(GROUPED, causal=False), normal(8, 3, 5, 16)

    def across(model: Any, memory: Tensor, seen: Tensor) -> Tensor:
        nowhere = Position(shape)
        here = causal_context(nowhere, X[..., 0], None, None, None, None)
        mask = seen[:, None, None, :].expand(-1, -1, X.size(1), -1)
        return model.through(X, replace(here, encoder_output=memory, encoder_mask=mask).cross(nowhere))

    model, truth = layers(case, backend, shape), layers(case, "manual", shape)
    if not model.mixers[0].supports_cross_attention or "window" in case:
        with pytest.raises(ValueError, match="a memory has none"):
            across(model, memory, seen)
        return
    if case == "everything":
        with pytest.raises(ValueError, match="leave it out of cross-attention"):
            across(model, memory, seen)
        return
    y = across(model, memory, seen)
    torch.testing.assert_close(y, across(truth, memory, seen), rtol=0, atol=1e-6)
    hidden = torch.where(seen[..., None], memory, 9.0)
    torch.testing.assert_close(y, across(truth, hidden, seen), rtol=0, atol=1e-6)
    torch.testing.assert_close(y, across(truth, memory.flip(1), seen.flip(1)), rtol=0, atol=1e-6)
    assert (y - across(truth, memory + 1, seen)).abs().max() > 1e-3


@pytest.mark.parametrize("mixer", ["latent", "shaw", "transformer_xl", "disentangled"])
@pytest.mark.parametrize("position", ["rope", "xpos", "alibi", "t5", "fire"])
def test_mixers_with_own_distances_refuse_others(mixer: str, position: str) -> None:
    model = layers(mixer)
    model.position = build("position", position, SHAPE).double()
    name = type(model.mixers[0]).__name__
    with pytest.raises(ValueError, match=f"(?i){name} encodes distances itself, and .* would encode them twice"):
        model(X)


@pytest.mark.parametrize("mixer", ["shaw", "transformer_xl", "disentangled"])
@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_mixers_with_own_distances_take_absolute_positions(mixer: str, position: str, make_model: Any) -> None:
    """They are added to the embeddings, and change nothing else (Shaw et al. 2018, section 4.3)."""
    model = make_model({"model.mixer": mixer, "model.position": position})
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
    plain = make_model({"model.mixer": mixer, "model.position": "none"})
    positions = torch.arange(12)
    plain.embedding.register_forward_hook(lambda module, inputs, x: model.stack.position.embed(x, positions))
    torch.testing.assert_close(model(tokens), plain(tokens), rtol=0, atol=1e-12)
    assert (model(tokens) - make_model({"model.mixer": mixer, "model.position": "none"})(tokens)).abs().max() > 1e-6


def test_latent_takes_no_position_beside_its_rotation(make_model: Any) -> None:
    with pytest.raises(ValueError, match="mixer latent has no use for position learned; position can be: none"):
        make_model({"model.mixer": "latent", "model.position": "learned"})


@pytest.mark.parametrize(
    ("mixer", "shape", "hyper", "message"),
    [
        ("latent", GROUPED, {}, "set n_kv_heads to null"),
        ("differential", replace(SHAPE, n_heads=1, n_kv_heads=1), {}, "must be even"),
        ("differential", replace(SHAPE, n_kv_heads=1), {}, "must be even"),
        ("disentangled", SHAPE, {"buckets": 8, "max_distance": 5}, "max_distance 5 must lie beyond the 4"),
        (
            "disentangled",
            SHAPE,
            {"content_to_position": False, "position_to_content": False},
            "use the mixer attention",
        ),
    ],
)
def test_unsupported_combination_is_refused(
    mixer: str, shape: BuildContext, hyper: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build("mixer", mixer, shape, **hyper)


@pytest.mark.parametrize(
    ("case", "message"), [("value residual", "in the first layer"), ("disentangled", "first layer")]
)
def test_value_of_the_first_layer_is_required(case: str, message: str) -> None:
    model = layers(case)
    model.mixers = model.mixers[1:]
    with pytest.raises(ValueError, match=message):
        model(X)


# What changes when one hyper-parameter does, with what else it needs: (mixer, field) -> (value, others).
OTHER: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
    ("attention", "scale"): (0.2, {}),
    ("attention", "bias"): (True, {}),
    ("attention", "out_bias"): (True, {}),
    ("attention", "dropout"): (0.5, {}),
    ("attention", "qk_norm"): ("rms", {}),
    ("attention", "soft_cap"): (1.0, {"backend": "manual"}),
    ("attention", "sinks"): (True, {"backend": "manual"}),
    ("attention", "gate"): ("head", {}),
    ("attention", "window"): (3, {}),
    ("attention", "value_residual"): (True, {}),
    ("attention", "tied_projections"): ("key_value", {}),
    ("attention", "backend"): ("manual", {}),
    ("latent", "rank"): (5, {}),
    ("latent", "query_rank"): (5, {}),
    ("latent", "rope"): (4, {}),
    ("latent", "theta"): (10.0, {"rope": 4}),
    ("latent", "eps"): (0.1, {}),
    ("latent", "bias"): (True, {}),
    ("latent", "dropout"): (0.5, {}),
    ("latent", "backend"): ("manual", {}),
    ("differential", "bias"): (True, {}),
    ("differential", "std"): (0.2, {}),
    ("differential", "eps"): (0.1, {}),
    ("differential", "backend"): ("manual", {}),
    ("shaw", "clip"): (2, {}),
    ("shaw", "values"): (False, {}),
    ("shaw", "bias"): (True, {}),
    ("shaw", "dropout"): (0.5, {}),
    ("transformer_xl", "base"): (10.0, {}),
    ("transformer_xl", "bias"): (True, {}),
    ("transformer_xl", "dropout"): (0.5, {}),
    ("transformer_xl", "backend"): ("manual", {}),
    ("disentangled", "buckets"): (4, {}),
    ("disentangled", "max_distance"): (7, {"buckets": 6}),
    ("disentangled", "content_to_position"): (False, {}),
    ("disentangled", "position_to_content"): (False, {}),
    ("disentangled", "share_projections"): (False, {}),
    ("disentangled", "table_norm"): (False, {}),
    ("disentangled", "eps"): (0.1, {}),
    ("disentangled", "bias"): (True, {}),
    ("disentangled", "dropout"): (0.5, {}),
    ("disentangled", "backend"): ("manual", {}),
}


def test_every_hyperparameter_is_tried_below() -> None:
    for mixer in {mixer for mixer, _ in OTHER}:
        assert set(REGISTRY["mixer"][mixer].hyperparameters()) == {field for name, field in OTHER if name == mixer}


@pytest.mark.parametrize(("mixer", "field"), OTHER)
def test_every_hyperparameter_changes_parameters_or_outputs(
    mixer: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, needs = OTHER[mixer, field]
    position = "rope" if mixer in ("attention", "differential") else "none"
    outputs = []
    for hyper in (needs, {**needs, field: value}):
        monkeypatch.setitem(CASES, "tried", (mixer, hyper, position))
        model = layers("tried", None).train()
        for part in model.modules():
            if hasattr(part, "initialize"):
                part.initialize(torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        outputs.append((model(X), [type(part) for part in model.modules()]))
    assert not torch.equal(outputs[0][0], outputs[1][0]) or outputs[0][1] != outputs[1][1]


@pytest.mark.parametrize(("field", "value"), [("eps", 0.5)])
@pytest.mark.parametrize("norm", ["rms", "rms_full"])
def test_qk_norm_hyperparameters_change_the_output(norm: str, field: str, value: float) -> None:
    assert REGISTRY["qk_norm"][norm](name=norm).hyperparameters() == [field]
    q, k = normal(0, 2, 4, 5, 4), normal(1, 2, 4, 5, 4)
    before, after = build("qk_norm", norm, SHAPE)(q, k), build("qk_norm", norm, SHAPE, **{field: value})(q, k)
    assert not torch.allclose(before[0], after[0]) and not torch.allclose(before[1], after[1])


@pytest.mark.parametrize(
    ("hyper", "neutral"),
    [
        ({"soft_cap": 1e7}, {}),
        ({"window": 9}, {}),
        ({"sinks": True}, {"sinks": -1e9}),
        ({"value_residual": True}, {"shares": [0.0, 1.0]}),
    ],
)
@torch.no_grad()
def test_options_at_neutral_values_equal_plain_attention(
    hyper: dict[str, Any], neutral: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "neutral", ("attention", hyper, "rope"))
    model, plain = layers("neutral"), layers("plain")
    plain.load_state_dict({path: value for path, value in model.state_dict().items() if path in plain.state_dict()})
    for path, parameter in model.named_parameters():
        for name, value in neutral.items():
            if path.endswith(name):
                parameter.copy_(torch.tensor(value))
    torch.testing.assert_close(model(X), plain(X), rtol=0, atol=1e-9)


@torch.no_grad()
def test_closed_gate_blocks_and_even_gate_halves() -> None:
    for gate in ("head", "feature"):
        gated, plain = wide(build("mixer", "attention", SHAPE, gate=gate)), wide(build("mixer", "attention", SHAPE))
        plain.load_state_dict({path: value for path, value in gated.state_dict().items() if "gate" not in path})
        context = causal_context(Position(SHAPE), X[..., 0], None, None, None, None)
        gated.gate.weight.zero_()
        torch.testing.assert_close(gated(X, context), plain(X, context) / 2, rtol=0, atol=1e-12)


@torch.no_grad()
def test_value_residual_mixes_in_the_first_layers_values() -> None:
    model = layers("value residual")
    first, second = model.mixers
    context = causal_context(model.position, X[..., 0], None, None, None, None)
    x = X + first(X, context)
    v = second.shares[0] * first.value(X) + second.shares[1] * second.value(x)
    plain = wide(build("mixer", "attention", SHAPE))
    plain.load_state_dict({path: value for path, value in second.state_dict().items() if path != "shares"})
    plain.value = nn.Identity()
    by_hand = plain.forward.__func__  # the same forward, with values handed in instead of made

    class HandedIn(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return v

    plain.value = HandedIn()
    torch.testing.assert_close(second(x, context), by_hand(plain, x, context), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("tied", "one", "other"), [("query_key", "query", "key"), ("key_value", "key", "value")])
@torch.no_grad()
def test_tied_projections_equal_two_maps_with_the_same_weights(tied: str, one: str, other: str) -> None:
    shape = SHAPE if tied == "query_key" else replace(SHAPE, n_kv_heads=SHAPE.n_heads // 2)
    sharing = wide(build("mixer", "attention", shape, tied_projections=tied, bias=True))
    plain = wide(build("mixer", "attention", shape, bias=True))
    state = sharing.state_dict()
    plain.load_state_dict({path: state[path.replace(other, one)] for path in plain.state_dict()})
    for memory in (None, normal(3, *X.shape[:1], 4, X.size(-1))):
        context = causal_context(Position(shape), X[..., 0], None, None, None, None)
        if memory is not None:
            mask = torch.ones(1, 1, X.size(1), 4, dtype=torch.bool)
            context = replace(context, encoder_output=memory, encoder_mask=mask).cross(Position(shape))
        torch.testing.assert_close(sharing(X, context), plain(X, context), rtol=0, atol=1e-12)
    saved = sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in sharing.parameters())
    assert saved == sum(p.numel() for p in getattr(plain, other).parameters())


@pytest.mark.parametrize("tied", ["query_key", "key_value"])
def test_tied_projections_are_computed_once(tied: str) -> None:
    def flops(**hyper: Any) -> int:
        context = causal_context(Position(SHAPE), X[..., 0], None, None, None, None)
        with FlopCounterMode(display=False) as counter:
            build("mixer", "attention", SHAPE, **hyper).to(X)(X, context)
        return counter.get_total_flops()

    n_tokens, width = X[..., 0].numel(), SHAPE.d_model
    assert flops() - flops(tied_projections=tied) == 2 * n_tokens * width * SHAPE.n_heads * SHAPE.d_head


def test_fewer_keys_than_queries_cannot_be_made_as_queries_are() -> None:
    with pytest.raises(ValueError, match="as many heads of keys as of queries"):
        build("mixer", "attention", replace(SHAPE, n_kv_heads=1), tied_projections="query_key")


@torch.no_grad()
def test_unit_lengths_make_scores_a_multiple_of_the_cosine() -> None:
    norm, q, k = build("qk_norm", "l2", SHAPE).double(), normal(0, 2, 4, 5, 4), normal(1, 2, 4, 5, 4)
    assert norm.gain.item() == pytest.approx(math.log2(12 * 12 - 12))
    norm.gain.fill_(3.0)
    normed_q, normed_k = norm(q, k)
    cosine = torch.cosine_similarity(q.unsqueeze(-2), k.unsqueeze(-3), dim=-1)
    torch.testing.assert_close(normed_q @ normed_k.mT * 4**-0.5, 3 * cosine)


def test_scale_may_be_switch_or_number_in_yaml_and_in_identity() -> None:
    kind = REGISTRY["mixer"]["attention"]
    scales = {}
    for text in ("true", "false", "1.0", "0.25", "2"):
        config = kind.model_validate_json(f'{{"name": "attention", "scale": {text}}}')
        assert json.loads(config.model_dump_json())["scale"] == json.loads(text)
        scales[text] = (type(config.scale), config.build(SHAPE).scale)
    assert scales == {
        "true": (bool, 0.5),
        "false": (bool, 1.0),
        "1.0": (float, 1.0),
        "0.25": (float, 0.25),
        "2": (float, 2.0),
    }
    for text in ("0", "-1.0", '"half"'):
        with pytest.raises(ValueError, match="scale"):
            kind.model_validate_json(f'{{"name": "attention", "scale": {text}}}')


@pytest.mark.parametrize("window", [1, 2, 4])
@torch.no_grad()
def test_window_of_n_shows_n_tokens(window: int) -> None:
    mixer = wide(build("mixer", "attention", SHAPE, window=window))
    context = causal_context(Position(SHAPE), X[..., 0], None, None, None, None)
    y = mixer(X, context)
    for token in range(9):
        other = X.clone()
        other[:, token] += 1
        moved = (mixer(other, context) - y).abs().amax((0, 2)) > 1e-9
        assert moved.nonzero().flatten().tolist() == list(range(token, min(token + window, 9)))


@torch.no_grad()
def test_latent_attention_has_a_small_cache() -> None:
    model, cache = layers("latent queries"), Cache()
    model(X, None, cache)
    assert cache.n_bytes == 2 * 3 * 9 * (5 + 4) * 8


@pytest.mark.parametrize("mixer", ["attention", "latent", "differential", "shaw", "transformer_xl", "disentangled"])
@pytest.mark.parametrize("backend", ["manual", "sdpa", "torch_mha"])
@pytest.mark.parametrize("norm", ["rms", "rms_full", "l2"])
def test_mixed_precision_stays_close(mixer: str, backend: str, norm: str) -> None:
    kind, hyper = REGISTRY["mixer"][mixer], {}
    if backend == "torch_mha" and mixer in ("latent", "differential"):
        return
    if "backend" in kind.hyperparameters():
        hyper["backend"] = backend
    if mixer == "attention":
        extra = {"soft_cap": 5.0, "sinks": True} if backend == "manual" else {}
        hyper |= {"qk_norm": norm, "gate": "feature", "window": 4, **extra}
    layer = wide(build("mixer", mixer, SHAPE, **hyper)).float()
    context = causal_context(Position(SHAPE), X[..., 0], None, None, None, None)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(X.float(), context)
        y.float().square().sum().backward()
    exact = layer(X.float(), context)
    assert (y - exact).norm() < 0.05 * exact.norm()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@torch.no_grad()
def test_differential_attention_without_second_map_is_first() -> None:
    """Scores of the second map that are even, times a share of 0, leave softmax(q1 k1^T) v, normed."""
    mixer = wide(build("mixer", "differential", SHAPE))
    mixer.norm.weight.fill_(1.0)
    mixer.vectors.zero_()
    mixer.start = 0.0
    plain = wide(build("mixer", "attention", SHAPE))
    plain.load_state_dict({path: mixer.state_dict()[path] for path in plain.state_dict()})
    plain.out, mixer.out = nn.Identity(), nn.Identity()
    context = causal_context(Position(SHAPE), X[..., 0], None, None, None, None)
    values = mixer.value(X).view(3, 9, 4, 4).transpose(1, 2)
    q, k = (split_heads(linear(X), 4) for linear in (mixer.query, mixer.key))
    weights = (q @ k.mT / 2).masked_fill(~context.mask, float("-inf")).softmax(-1)[:, :2]
    read = weights @ torch.cat([values[:, :2], values[:, 2:]], -1)
    expected = nn.functional.rms_norm(read, (8,), eps=1e-5).transpose(1, 2).flatten(2)
    torch.testing.assert_close(mixer(X, context), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [SHAPE, GROUPED], ids=["plain", "grouped"])
@pytest.mark.parametrize("is_causal", [True, False])
@torch.no_grad()
def test_shaw_is_the_formula_of_the_paper(is_causal: bool, shape: BuildContext) -> None:
    shape = replace(shape, causal=is_causal)
    mixer = wide(build("mixer", "shaw", shape, clip=3))
    make = causal_context(Position(shape), X[..., 0], None, None, None, None)
    context = make if is_causal else bidirectional_context(Position(shape), X[..., 0], None, None)
    q, k, v = (
        split_heads(linear(X), n_heads)
        for linear, n_heads in ((mixer.query, 4), (mixer.key, shape.n_kv_heads), (mixer.value, shape.n_kv_heads))
    )
    read = torch.zeros(3, 4, 9, 4, dtype=torch.float64)
    for head in range(4):
        of = head // (4 // shape.n_kv_heads)
        for i in range(9):
            seen = range(i + 1) if is_causal else range(9)
            row = {j: max(-3, min(3, i - j)) + (0 if is_causal else 3) for j in seen}
            e = torch.stack([q[:, head, i] * (k[:, of, j] + mixer.key_table.weight[row[j]]) for j in seen], 1).sum(-1)
            weights = (e / 2).softmax(-1)
            for place, j in enumerate(seen):
                read[:, head, i] += weights[:, place, None] * (v[:, of, j] + mixer.value_table.weight[row[j]])
    torch.testing.assert_close(mixer(X, context), mixer.out(read.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mixer", ["latent", "shaw", "transformer_xl", "disentangled"])
@torch.no_grad()
def test_mixers_with_own_positions_depend_on_distances_only(mixer: str) -> None:
    model = layers(mixer)
    here = causal_context(model.position, X[..., 0], None, None, None, None)
    far = causal_context(model.position, X[..., 0], torch.arange(9) + 10_000, None, None, None)
    torch.testing.assert_close(model.through(X, far), model.through(X, here), rtol=0, atol=1e-8)
    stretched = causal_context(model.position, X[..., 0], 2 * torch.arange(9), None, None, None)
    assert (model.through(X, stretched) - model.through(X, here)).abs().max() > 1e-3
    swapped = X[:, [1, 0, *range(2, 9)]]
    assert (model(swapped) - model(X))[:, 8].abs().max() > 1e-3


def test_disentangled_buckets_equal_those_of_transformers() -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = torch.arange(-1500, 1501)
    for buckets, max_distance in ((256, 512), (8, 16), (32, 128), (64, 2000), (4, 8), (16, 700)):
        mixer = Disentangled(
            SHAPE,
            buckets=buckets,
            max_distance=max_distance,
            backend=REGISTRY["attention_backend"]["manual"](name="manual"),
        )
        expected = make_log_bucket_position(distances, buckets, max_distance).long()
        got = mixer.bucket(distances)
        assert torch.equal(got.clamp(-buckets, buckets - 1), expected.clamp(-buckets, buckets - 1))


def test_attention_names_its_maps() -> None:
    mixer = build("mixer", "attention", SHAPE)
    assert isinstance(mixer, Attention)
    assert [path for path, _ in mixer.named_parameters()] == [
        f"{map}.weight" for map in ("query", "key", "value", "out")
    ]
    assert [role_of(map) for map in mixer.children() if isinstance(map, nn.Linear)] == [
        *["linear"] * 3,
        "out_projection",
    ]
