"""First weights against torch, transformers and how wide each scheme says it draws."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ablation.components.base import role_of
from ablation.components.initialization import Initialization
from ablation.model.build import build_model
from ablation.registry import REGISTRY

TOKENS = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
M = 64
WIDE = {"model.d_model": M, "model.tie_embeddings": False, "model.position": "learned"}


def kinds(model: nn.Module) -> dict[str, list[Tensor]]:
    weights: dict[str, list[Tensor]] = {"table": [], "lm_head": [], "out_projection": [], "linear": []}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            weights["table"].append(module.weight)
        elif isinstance(module, nn.Linear):
            role = role_of(module)
            weights[role if role in weights else "linear"].append(module.weight)
    return weights


WIDTHS: dict[str, dict[str, Any]] = {
    "gpt2": {"linear": lambda fan: 0.02, "out_projection": lambda fan: 0.02 / 2, "table": 0.02, "lm_head": 0.02},
    "zero_out": {"linear": lambda fan: 0.02, "out_projection": lambda fan: 0.0, "table": 0.02, "lm_head": 0.02},
    "small": {kind: lambda fan: math.sqrt(2 / (5 * M)) for kind in ("linear", "out_projection")}
    | {"table": M**-0.5, "lm_head": math.sqrt(2 / (5 * M))},
    "t5": {kind: lambda fan: fan**-0.5 for kind in ("linear", "out_projection")} | {"table": 1.0, "lm_head": 1.0},
    "mup": {kind: lambda fan: 0.02 * math.sqrt(128 / fan) for kind in ("linear", "out_projection")}
    | {"table": 0.02, "lm_head": 0.02 * 128 / M},
    "default_torch": {kind: lambda fan: (3 * fan) ** -0.5 for kind in ("linear", "out_projection")}
    | {"table": 1.0, "lm_head": (3 * M) ** -0.5},
}


@pytest.mark.parametrize("name", WIDTHS)
def test_weights_have_the_std_of_their_scheme(name: str, configure: Any) -> None:
    config = configure({**WIDE, "model.initialization": name}).model
    for kind, weights in kinds(build_model(config, 50, 50, 0)).items():
        assert len(weights) == {"table": 2, "lm_head": 1, "out_projection": 4, "linear": 8}[kind]
        for weight in weights:
            width = WIDTHS[name][kind]
            expected = width(weight.size(1)) if callable(width) else width
            assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel())), kind
            assert abs(weight.mean().item()) <= 5 * expected / math.sqrt(weight.numel())


@pytest.mark.parametrize("scale", [False, True])
def test_t5_initialization_equals_transformers(scale: bool, configure: Any) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": M, "d_kv": 16, "num_heads": 4, "d_ff": 256, "num_layers": 1, "vocab_size": 300}
    theirs = T5ForConditionalGeneration(T5Config(**sizes, tie_word_embeddings=False, pad_token_id=0)).state_dict()
    changes = {**WIDE, "model.position": "none", "model.feedforward": {"name": "mlp", "expansion": 4.0}}
    changes["model.mixer"] = {"name": "attention", "scale": scale}
    ours = build_model(configure({**changes, "model.initialization": "t5"}).model, 300, 12, 0).state_dict()
    pairs = {"key": "k", "value": "v", "out": "o"}
    names = {f"sublayers.0.{a}.weight": f"encoder.block.0.layer.0.SelfAttention.{b}.weight" for a, b in pairs.items()}
    names |= {
        f"sublayers.1.{a}.weight": f"encoder.block.0.layer.1.DenseReluDense.{b}.weight"
        for a, b in (("up", "wi"), ("down", "wo"))
    }
    for one, other in names.items():
        assert ours[f"stack.blocks.0.{one}"].std().item() == pytest.approx(theirs[other].std().item(), rel=0.06), one
    assert ours["embedding.table.weight"].std().item() == pytest.approx(theirs["shared.weight"].std().item(), rel=0.05)
    assert ours["readout.table.weight"].std().item() == pytest.approx(theirs["lm_head.weight"].std().item(), rel=0.05)
    q = theirs["encoder.block.0.layer.0.SelfAttention.q.weight"].std().item()
    assert ours["stack.blocks.0.sublayers.0.query.weight"].std().item() == pytest.approx(
        q * (16**0.5 if scale else 1), rel=0.06
    )


def test_default_torch_equals_torchs_own_initialization() -> None:
    scheme: Initialization = REGISTRY["initialization"]["default_torch"](name="default_torch").build(None)
    torch.manual_seed(3)
    theirs = nn.Linear(7, 5, bias=False).weight
    ours = torch.empty(5, 7)
    scheme.linear(ours, torch.Generator().manual_seed(3))
    assert torch.equal(ours, theirs)


def test_zero_out_and_rezero_models_start_as_their_embedding(configure: Any) -> None:
    for change in ({"model.initialization": "zero_out"}, {"model.residual": "rezero"}):
        model = build_model(configure({**change, "model.position": "none"}).model, 11, 12, 0)
        x = model.embedding.table(TOKENS)
        torch.testing.assert_close(model(TOKENS), model.stack.norm(x) @ model.embedding.table.weight.T)
