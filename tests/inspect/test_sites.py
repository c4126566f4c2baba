"""What is read at the sites of a model is what other implementations compute, and reading it changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.attention import SHAPE, X, build, wide
from support.components import settings_for
from support.parity import ours, random_tokens, theirs
from torch import Tensor, nn

from ablation.components.architecture.masks import bidirectional_context, causal_context
from ablation.components.block import Block
from ablation.inspect.sites import SiteName, Sublayer, heads_of, hooked, sublayers
from ablation.registry import REGISTRY

MIXERS = [name for name in REGISTRY["mixer"] if name != "none"]
MODELS = Callable[..., nn.Module]
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
SITES: list[SiteName] = ["query", "key", "value", "weights", "heads", "output", "stream"]


def seen(model: nn.Module, *inputs: Any, names: Any = SITES, **more: Any) -> dict[tuple[str, str], Tensor]:
    """By name of the sublayer and site, what a pass computes there."""
    found: dict[tuple[str, str], Tensor] = {}

    def keep(part: Sublayer, name: SiteName, x: Tensor, context: Any) -> None:
        found[part.name, name] = x

    with torch.no_grad(), hooked(sublayers(model), names, keep):
        model(*inputs, **more)
    return found


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_has_weights_or_says_that_it_has_none(make_model: MODELS, name: str) -> None:
    model = make_model(settings_for("mixer", name))
    found = seen(model, TOKENS)
    for part in sublayers(model):
        assert ((part.name, "weights") in found) == (part.reason_no_weights is None)
        assert ((part.name, "heads") in found) == (part.n_heads > 0)
        if part.kind == "mixer" and part.reason_no_weights:
            assert "has no attention weights" in part.reason_no_weights


@pytest.mark.parametrize("name", MIXERS)
def test_weights_are_one_map_for_each_head_that_sees_no_later_token(make_model: MODELS, name: str) -> None:
    model = make_model(settings_for("mixer", name))
    found = seen(model, TOKENS)
    for part in sublayers(model):
        if (part.name, "weights") in found:
            weights = found[part.name, "weights"]
            assert weights.shape == (3, part.n_heads, 12, 12)
            assert weights.triu(1).abs().max() == 0
            if name != "differential":
                torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


@pytest.mark.parametrize("name", MIXERS)
def test_reading_all_sites_changes_no_bit_and_leaves_no_hook(make_model: MODELS, name: str) -> None:
    model = make_model(settings_for("mixer", name))
    with torch.no_grad():
        before = model(TOKENS)
    seen(model, TOKENS)
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    with torch.no_grad():
        assert torch.equal(model(TOKENS), before)
    assert sum(hooks) == 0


@pytest.mark.parametrize("name", MIXERS)
def test_mixer_whose_heads_are_all_zero_adds_the_bias_of_its_last_map(make_model: MODELS, name: str) -> None:
    model = make_model(settings_for("mixer", name))
    parts = sublayers(model)
    found: dict[str, Tensor] = {}

    def call(part: Sublayer, site: SiteName, x: Tensor, context: Any) -> Tensor | None:
        if site == "heads":
            return torch.zeros_like(x)
        found[part.name] = x
        return None

    with torch.no_grad(), hooked(parts, ["heads", "output"], call):
        model(TOKENS)
    for part in parts:
        if part.n_heads:
            bias = part.mixer.out.bias  # type: ignore[union-attr]
            expected = torch.zeros_like(found[part.name]) if bias is None else bias.expand_as(found[part.name])
            torch.testing.assert_close(found[part.name], expected)


@pytest.mark.parametrize("backend", ["manual", "sdpa", "torch_mha", "flex"])
def test_weights_are_the_same_under_every_backend(make_model: MODELS, backend: str) -> None:
    first = make_model({"model.mixer": {"name": "attention", "backend": "manual"}})
    other = make_model({"model.mixer": {"name": "attention", "backend": backend}})
    one, two = seen(first, TOKENS, names=["weights"]), seen(other, TOKENS, names=["weights"])
    assert one.keys() == two.keys() and one
    for place, weights in one.items():
        torch.testing.assert_close(two[place], weights)


@pytest.mark.parametrize("causal", [True, False])
def test_weights_equal_those_of_torch_multihead_attention(causal: bool) -> None:
    mixer = wide(build("mixer", "attention", SHAPE, bias=True))
    reference = nn.MultiheadAttention(16, 4, batch_first=True).double().eval()
    with torch.no_grad():
        for target, maps in (("weight", "in_proj_weight"), ("bias", "in_proj_bias")):
            joined = torch.cat([getattr(part, target) for part in (mixer.query, mixer.key, mixer.value)])
            getattr(reference, maps).copy_(joined)
    position = build("position", "none", SHAPE)
    tokens = torch.zeros(X.shape[:2], dtype=torch.long)
    make = causal_context(position, tokens, None, None, None, None) if causal else None
    context = make or bidirectional_context(position, tokens, None, None)
    block = Block(SHAPE, [mixer], nn.Identity, lambda: build("residual", "plain", SHAPE))
    found: list[Tensor] = []
    part = Sublayer("", 0, "mixer", mixer, block, 0)

    class OneBlock(Block):
        def forward(self, x: Tensor, context: Any) -> Tensor:
            y: Tensor = self.sublayers[0](x, context)
            return y

    block.__class__ = OneBlock
    with torch.no_grad(), hooked([part], ["weights"], lambda part, name, x, context: found.append(x)):
        block(X, context)
        later = torch.ones(X.size(1), X.size(1), dtype=torch.bool).triu(1) if causal else None
        _, expected = reference(X, X, X, attn_mask=later, average_attn_weights=False)
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("system", ["gpt2", "bert", "llama", "deberta-v2", "bloom"])
def test_weights_equal_those_of_transformers(system: str, padded: bool) -> None:
    model, said = theirs(system)
    built, tokens = ours(system, model, said), random_tokens(3, 12)
    padding = torch.ones(3, 12, dtype=torch.bool)
    if padded:
        padding[1, 9:] = padding[2, 8:] = False
    with torch.no_grad():
        wanted = model(input_ids=tokens, attention_mask=padding.long(), output_attentions=True).attentions
    found = list(seen(built, tokens, padding=padding, names=["weights"]).values())
    assert len(found) == len(wanted) > 1
    for mine, other in zip(found, wanted, strict=True):
        rows = padding[:, None, :, None].expand_as(mine)
        torch.testing.assert_close(mine[rows], other[rows], atol=1e-6, rtol=0)


def test_weights_of_encoder_decoder_and_cross_attention_equal_those_of_transformers() -> None:
    model, said = theirs("t5")
    built, source, target = ours("t5", model, said), random_tokens(3, 12), random_tokens(3, 7).flip(0)
    padding = torch.ones(3, 12, dtype=torch.bool)
    padding[1, 9:] = False
    with torch.no_grad():
        wanted = model(
            input_ids=source, attention_mask=padding.long(), decoder_input_ids=target, output_attentions=True
        )
    found = seen(built, target, source=source, source_padding=padding, names=["weights"])
    for kind, attentions in (
        ("encoder layer {} mixer", wanted.encoder_attentions),
        ("decoder layer {} mixer", wanted.decoder_attentions),
        ("decoder layer {} cross", wanted.cross_attentions),
    ):
        assert len(attentions) > 1
        for layer, other in enumerate(attentions):
            mine = found[kind.format(layer), "weights"]
            rows = padding[:, None, :, None].expand_as(mine) if kind.startswith("encoder") else ...
            torch.testing.assert_close(mine[rows], other[rows], atol=1e-6, rtol=0)


def test_streams_equal_the_hidden_states_of_transformers() -> None:
    model, said = theirs("gpt2")
    built, tokens = ours("gpt2", model, said), random_tokens(2, 9)
    with torch.no_grad():
        wanted = model(input_ids=tokens, output_hidden_states=True).hidden_states
    found = [x for (_, name), x in seen(built, tokens, names=["stream"]).items() if name == "stream"]
    for layer, mine in enumerate(found[:-1], 1):  # theirs is normalized after the last layer
        torch.testing.assert_close(mine, wanted[layer], atol=1e-6, rtol=0)


def test_heads_of_a_differential_mixer_are_its_pairs(make_model: MODELS) -> None:
    model = make_model({"model.mixer": "differential", "model.n_heads": 4})
    parts = [part for part in sublayers(model) if part.kind == "mixer"]
    assert all(part.n_heads == 2 for part in parts) and len(heads_of(parts)) == 2 * len(parts)


def test_model_without_blocks_is_refused() -> None:
    from ablation.errors import InputError

    with pytest.raises(InputError, match="Linear has no stack of blocks"):
        sublayers(nn.Linear(2, 2))
