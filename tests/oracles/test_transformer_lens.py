"""Knock-outs and maps equal those of TransformerLens on the same GPT-2, where a version 2 of it is installed."""

from typing import Any

import pytest
import torch
from support.parity import ours, random_tokens, theirs

from ablation.inspect.parts import Ablation, Means, Part, without
from ablation.inspect.sites import Head, hooked, sublayers

lens = pytest.importorskip("transformer_lens", reason="transformer-lens 2, which needs many packages, is not installed")
if int(getattr(lens, "__version__", "2").partition(".")[0]) > 2:
    pytest.skip("transformer-lens 2 is compared with; a later one is installed", allow_module_level=True)


@pytest.fixture(scope="module")
def both() -> tuple[Any, Any]:
    """Our model and theirs, with the same random weights."""
    model, said = theirs("gpt2")
    config = lens.HookedTransformerConfig(
        n_layers=said["n_layer"],
        d_model=said["n_embd"],
        n_ctx=said["n_positions"],
        d_head=said["n_embd"] // said["n_head"],
        n_heads=said["n_head"],
        d_mlp=said["n_inner"] or 4 * said["n_embd"],
        d_vocab=said["vocab_size"],
        act_fn="gelu_new",
        normalization_type="LN",
        eps=said["layer_norm_epsilon"],
        dtype=torch.float64,
        device="cpu",
    )
    convert = pytest.importorskip("transformer_lens.pretrained.weight_conversions.gpt2").convert_gpt2_weights
    other = lens.HookedTransformer(config)
    other.load_state_dict({**other.state_dict(), **convert(model, config)}, strict=False)
    return ours("gpt2", model, said), other.double().eval()


TOKENS = random_tokens(3, 12)


def test_maps_equal_those_of_transformer_lens(both: tuple[Any, Any]) -> None:
    model, other = both
    with torch.no_grad():
        _, cache = other.run_with_cache(TOKENS)
        maps: dict[int, Any] = {}
        with hooked(sublayers(model), ["weights"], lambda part, name, x, context: maps.update({part.layer: x})):
            model(TOKENS)
    for layer, weights in maps.items():
        torch.testing.assert_close(weights, cache["pattern", layer])


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_knocked_out_heads_equal_those_of_transformer_lens(both: tuple[Any, Any], ablation: Ablation) -> None:
    model, other = both
    means = Means()
    parts = sublayers(model)
    with torch.no_grad(), hooked(parts, ["heads"], lambda part, name, y, context: means.add((part, name), y, None)):
        model(TOKENS)
    for part in parts:
        for head in range(part.n_heads):

            def replace(z: Any, hook: Any, at: int = head) -> Any:
                z[:, :, at] = 0 if ablation == "zero" else z[:, :, at].mean((0, 1))
                return z

            with torch.no_grad():
                wanted = other.run_with_hooks(TOKENS, fwd_hooks=[(f"blocks.{part.layer}.attn.hook_z", replace)])
                with without(model, Part("heads", "", heads=(Head(part, head),)), ablation, means):
                    torch.testing.assert_close(model(TOKENS), wanted)


def test_knocked_out_sublayers_equal_those_of_transformer_lens(both: tuple[Any, Any]) -> None:
    model, other = both
    for part in sublayers(model):
        hook = "hook_attn_out" if part.kind == "mixer" else "hook_mlp_out"
        with torch.no_grad():
            wanted = other.run_with_hooks(TOKENS, fwd_hooks=[(f"blocks.{part.layer}.{hook}", lambda x, hook: 0 * x)])
            with without(model, Part("sublayers", "", sublayers=(part,)), "zero", Means()):
                torch.testing.assert_close(model(TOKENS), wanted)
