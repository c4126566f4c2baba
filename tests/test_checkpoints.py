"""Systems of the field, with random weights of their own, give the same scores here as there."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from ablation.models import (
    ModelConfig,
    build_model,
    checkpoints,  # noqa: F401  fills the slot
)
from ablation.registry import REGISTRY, spell_out

transformers = pytest.importorskip("transformers", reason="transformers, a test dependency, is not installed")

VOCABULARY = 97

SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 24, "vocab_size": VOCABULARY}),
    "llama": (
        "Llama",
        {
            "hidden_size": 32,
            "intermediate_size": 88,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": VOCABULARY,
            "tie_word_embeddings": False,
        },
    ),
    "olmo2": (
        "Olmo2",
        {
            "hidden_size": 32,
            "intermediate_size": 88,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": VOCABULARY,
            "pad_token_id": 0,
        },
    ),
    "gemma2": (
        "Gemma2",
        {
            "hidden_size": 32,
            "intermediate_size": 88,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": 5,
            "vocab_size": VOCABULARY,
        },
    ),
    "bloom": ("Bloom", {"hidden_size": 24, "n_layer": 3, "n_head": 6, "vocab_size": VOCABULARY}),
    "mpt": ("Mpt", {"d_model": 24, "n_layers": 3, "n_heads": 6, "expansion_ratio": 4, "vocab_size": VOCABULARY}),
    "bert": (
        "Bert",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 24,
            "vocab_size": VOCABULARY,
        },
    ),
    "marian": (
        "Marian",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "activation_function": "relu",
            "scale_embedding": True,
            "vocab_size": VOCABULARY,
            "pad_token_id": 0,
        },
    ),
    "t5": (
        "T5",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_decoder_layers": 3,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 16,
            "vocab_size": VOCABULARY,
        },
    ),
}
HEADS = {"bert": "ForMaskedLM", "gpt2": "LMHeadModel", "marian": "MTModel", "t5": "ForConditionalGeneration"}


def theirs(system: str) -> tuple[Any, dict[str, Any]]:
    """Their model with random weights in float64, and what its config.json says."""
    family, sizes = SYSTEMS[system]
    config = getattr(transformers, f"{family}Config")(**sizes, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, family + HEADS.get(system, "ForCausalLM"))(config).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():  # gains and shifts too, which start at 1 and 0
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model, config.to_dict()


def ours(system: str, model: Any, said: dict[str, Any]) -> torch.nn.Module:
    checkpoint = REGISTRY["checkpoint"][system](name=system).build()
    config = ModelConfig.model_validate_json(json.dumps(spell_out(ModelConfig, checkpoint.model(said))))
    built = build_model(config, VOCABULARY, 24, seed=1).double().eval()
    built.load_state_dict(checkpoint.weights(said, model.state_dict()), strict=True)
    return built


def random_tokens(*shape: int) -> Tensor:
    return torch.randint(1, VOCABULARY, shape, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def scores(built: torch.nn.Module, model: Any, padded: bool) -> tuple[Tensor, Tensor]:
    """Ours and theirs on three texts, at every real token."""
    tokens, padding = random_tokens(3, 12), torch.ones(3, 12, dtype=torch.bool)
    if padded:
        padding[1, 9:] = padding[2, 8:] = False
    if model.config.is_encoder_decoder:
        target = random_tokens(3, 7).flip(0)
        wanted = model(input_ids=tokens, attention_mask=padding.long(), decoder_input_ids=target).logits
        return built(target, source=tokens, source_padding=padding), wanted
    wanted = model(input_ids=tokens, attention_mask=padding.long()).logits
    return built(tokens, padding=padding if padded else None)[padding], wanted[padding]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_scores_agree_with_the_system_they_come_from(system: str, padded: bool) -> None:
    model, said = theirs(system)
    given, wanted = scores(ours(system, model, said), model, padded)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=0)


def test_every_checkpoint_is_compared() -> None:
    assert set(REGISTRY["checkpoint"]) <= set(SYSTEMS)
