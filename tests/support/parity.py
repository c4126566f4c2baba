"""The systems of the field beside the classes they come from: `python3 tasks.py parity`.

Their models with random weights, mapped to ours; the task prints the largest difference of any score, in float64, over
whole and padded sequences.
"""

import json
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import ablation.checkpoints  # noqa: F401  fills the slot
from ablation.model.build import build_model
from ablation.model.config import ModelConfig
from ablation.registry import REGISTRY, expand_shorthand

transformers = pytest.importorskip("transformers", reason="transformers, a test dependency, is not installed")

VOCABULARY = 97

SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 24, "vocab_size": VOCABULARY}),
    "gpt_neo": (
        "GPTNeo",
        {
            "hidden_size": 32,
            "num_layers": 4,
            "num_heads": 4,
            "max_position_embeddings": 24,
            "attention_types": [[["local", "global"], 2]],
            "window_size": 5,
            "vocab_size": VOCABULARY,
        },
    ),
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
            "rms_norm_eps": 1e-6,  # this and the next as published, not as the class has it
            "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
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
    "deberta-v2": (  # as v3 is made, but for its sizes
        "DebertaV2",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 24,
            "relative_attention": True,
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
            "legacy": False,
            "vocab_size": VOCABULARY,
        },
    ),
    "deberta": (
        "Deberta",
        {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": 24,
            "max_relative_positions": 7,
            "relative_attention": True,
            "pos_att_type": "c2p|p2c",
            "position_biased_input": False,
            "legacy": False,
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
MASKED = dict.fromkeys(("bert", "deberta-v2", "deberta"), "ForMaskedLM")
HEADS = {**MASKED, "gpt2": "LMHeadModel", "marian": "MTModel", "t5": "ForConditionalGeneration"}


def theirs(system: str, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """Their model with random weights in float64, and what its config.json says."""
    family, settings = SYSTEMS[system]
    config = getattr(transformers, f"{family}Config")(**settings | changes, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, family + HEADS.get(system, "ForCausalLM"))(config).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():  # gains and shifts too, which start at 1 and 0
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model, config.to_dict()


def checkpoint_of(system: str) -> Any:
    return REGISTRY["checkpoint"][system](name=system).build()


def validated(model: dict[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate_json(json.dumps(expand_shorthand(ModelConfig, model)))


def ours(system: str, model: Any, said: dict[str, Any]) -> torch.nn.Module:
    checkpoint = checkpoint_of(system)
    built = build_model(validated(checkpoint.model(said)), VOCABULARY, 24, seed=1).double().eval()
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


VARIANTS = [
    ("deberta-v2", {"legacy": True}),
    ("deberta-v2", {"share_att_key": False, "norm_rel_ebd": "none", "pos_att_type": ["c2p"]}),
    ("deberta-v2", {"position_buckets": -1, "max_relative_positions": 7, "pos_att_type": ["p2c"]}),
    ("deberta", {"legacy": True, "max_relative_positions": -1}),
    ("deberta", {"pos_att_type": ["p2c"]}),
    ("gpt_neo", {"attention_types": [[["global"], 4]]}),
    ("gpt_neo", {"attention_types": [[["local"], 2], [["local"], 2]], "intermediate_size": 64}),
    ("gpt_neo", {"attention_types": [[["local", "local", "global"], 1], [["local"], 1]]}),
    ("gpt_neo", {"attention_types": [[["global", "local"], 2]]}),  # as published
    ("gpt_neo", {"attention_types": [[["global", "local", "local"], 1], [["global"], 1]]}),
    ("gpt_neo", {"attention_types": [[["global", "local", "local", "local"], 1]]}),
    ("gpt_neo", {"attention_types": [[["local", "global"], 1], [["global", "local"], 1]]}),  # no every n-th layer
    ("gpt_neo", {"attention_types": [[["global", "global", "local"], 1], [["local"], 1]]}),
    ("llama", {"head_dim": 12}),
    ("llama", {"head_dim": 4, "num_key_value_heads": 4}),
    ("olmo2", {"head_dim": 4}),
    ("gemma2", {"head_dim": 16, "query_pre_attn_scalar": 8}),  # wider together than the stream, as published
    ("t5", {"d_kv": 4}),
    ("t5", {"d_kv": 8, "num_heads": 3, "feed_forward_proj": "gated-gelu"}),  # as v1.1 small: 32 is no multiple of 3
]


def said_by(system: str) -> dict[str, Any]:
    family, settings = SYSTEMS[system]
    return getattr(transformers, f"{family}Config")(**settings).to_dict()


def main() -> None:
    table = Table("system", "but for", "compared with", "largest difference", box=None)
    for system, changes in [*((system, {}) for system in SYSTEMS), *VARIANTS]:
        model, said = theirs(system, **changes)
        built = ours(system, model, said)
        differences = []
        for padded in (False, True):
            given, wanted = scores(built, model, padded)
            differences.append(float((given - wanted).abs().max()))
        settings = " ".join(f"{name}={value}" for name, value in changes.items())
        table.add_row(system, settings, f"transformers.{type(model).__name__}", f"{max(differences):.1e}")
    Console().print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
