"""The width of a head as a size of its own: every mixer has it or refuses it, and what it costs is counted."""

from typing import Any

import pytest
import torch
from support.components import settings_for

from ablation.components.base import BuildContext
from ablation.components.context import Cache
from ablation.model.build import build_uninitialized
from ablation.model.counts import count_inference_cost, count_parameters
from ablation.registry import REGISTRY
from ablation.tasks.generated.copying import Copy

MIXERS = REGISTRY["mixer"]
WITH_HEADS = [name for name, config in MIXERS.items() if config.component.uses_heads]
WITHOUT = sorted(set(MIXERS) - set(WITH_HEADS))
WIDE = {"model.d_head": 8}  # 4 heads of 8 in a stream of 16
UNEVEN = {"model.d_model": 18, "model.d_head": 8}  # 18 is no multiple of 4
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
PADDED = torch.arange(12) >= 3 * torch.arange(3)[:, None]  # on the left, none in the first text
V, L, M, H, D, LAYERS, WIDTH = 11, 12, 16, 4, 8, 2, 64


@pytest.mark.parametrize("sizes", [WIDE, UNEVEN], ids=["wide", "uneven"])
@pytest.mark.parametrize("name", WITH_HEADS)
def test_mixer_is_as_wide_inside_as_its_heads_together(name: str, sizes: dict[str, Any], make_model: Any) -> None:
    model = make_model({**settings_for("mixer", name), **sizes})
    for block in model.stack.blocks:
        assert block.sublayers[0].out.weight.shape == (sizes.get("model.d_model", M), H * D)
    for padding in (torch.ones_like(PADDED), PADDED):
        whole, cache = model(TOKENS, padding=padding), Cache()
        steps = zip(TOKENS.split(1, 1), padding.split(1, 1), strict=True)
        stepwise = torch.cat([model(token, padding=is_token, cache=cache) for token, is_token in steps], 1)
        torch.testing.assert_close(stepwise[padding], whole[padding], rtol=0, atol=1e-10)
        for text, is_token, scores in zip(TOKENS, padding, whole, strict=True):
            torch.testing.assert_close(model(text[is_token][None])[0], scores[is_token], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", WITH_HEADS)
def test_default_head_width_given_explicitly_is_the_same_model(name: str, make_model: Any) -> None:
    null, written = (make_model({**settings_for("mixer", name), "model.d_head": d_head}) for d_head in (None, M // H))
    assert torch.equal(null(TOKENS), written(TOKENS))


@pytest.mark.parametrize("name", WITHOUT)
def test_width_that_no_mixer_has_is_refused(name: str, configure: Any) -> None:
    configure({**settings_for("mixer", name), "model.d_head": None})
    with pytest.raises(Exception, match=f"d_head 8 has no effect: {name} has no heads; set it to null"):
        configure({**settings_for("mixer", name), "model.d_head": 8})


def test_head_width_used_only_in_cross_attention_is_accepted(configure: Any) -> None:
    changes = {"model.architecture": "encoder_decoder", "model.mixer": "lstm", "model.position": "none"}
    assert configure({**changes, "model.d_head": 8}).model.d_head == 8


def test_heads_need_not_divide_model_where_their_width_is_given(configure: Any) -> None:
    with pytest.raises(Exception, match="n_heads 3 does not divide d_model 16"):
        configure({"model.n_heads": 3})
    assert configure({"model.n_heads": 3, "model.d_head": 6}).model.build_context(12).d_head == 6
    for wrong in (0, -4, 2.5, "wide"):
        with pytest.raises(Exception, match="d_head"):
            configure({"model.d_head": wrong})


@pytest.mark.parametrize("position", ["rope", "xpos"])
def test_rotary_positions_need_an_even_width(position: str, configure: Any) -> None:
    config = configure({"model.position": position, "model.d_head": 7}).model
    with pytest.raises(ValueError, match=r"^rope rotates pairs of features: d_head 7 is odd$"):
        count_parameters(config, V, L)


def test_head_width_defaults_to_d_model_by_heads() -> None:
    sizes = {"d_model": 16, "n_layers": 1, "n_heads": 4, "n_kv_heads": 4, "max_length": 12}
    assert (BuildContext(**sizes).d_head, BuildContext(**sizes, d_head=7).d_head) == (4, 7)


@pytest.mark.parametrize("n_kv_heads", [4, 1])
@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_costs_of_head_width_are_counted(position: str, n_kv_heads: int, configure: Any) -> None:
    """By hand: parameters, FLOPs of a token (2 x weights, and 2 x (q k^T, weights x v)), and bytes of the cache."""
    config = configure({**WIDE, "model.n_kv_heads": n_kv_heads, "model.position": position}).model
    maps = LAYERS * (2 * M * H * D + 2 * M * n_kv_heads * D + 2 * M * WIDTH)
    assert count_parameters(config, V, L).parameters == V * M + maps + (2 * LAYERS + 1) * 2 * M
    work = count_inference_cost(config, Copy(symbols=V - 1, length=L, validation_examples=1))
    assert work.flops_per_token == 2 * (maps + V * M) + LAYERS * 2 * 2 * L * H * D
    assert work.cache_bytes_per_token == 2 * LAYERS * n_kv_heads * D * 4


@pytest.mark.parametrize("name", REGISTRY["qk_norm"])
@pytest.mark.parametrize("backend", ["manual", "sdpa", "torch_mha"])
def test_backends_and_norms_of_queries_and_keys_take_it(backend: str, name: str, make_model: Any) -> None:
    def scores(backend: str) -> torch.Tensor:
        mixer = {"name": "attention", "qk_norm": name, "backend": backend, "gate": "feature"}
        return make_model({**UNEVEN, "model.mixer": mixer, "model.n_kv_heads": 2})(TOKENS, padding=PADDED)

    torch.testing.assert_close(scores(backend)[PADDED], scores("manual")[PADDED], rtol=0, atol=1e-10)


def test_encoder_decoder_has_it_on_both_sides_and_across(configure: Any) -> None:
    config = configure({**WIDE, "model.architecture": "encoder_decoder", "model.position": "t5"}).model
    model = build_uninitialized(config, V, L, device="meta")
    outs = [weight.shape for path, weight in model.named_parameters() if path.endswith(".out.weight")]
    assert outs == [(M, H * D)] * 3 * LAYERS
