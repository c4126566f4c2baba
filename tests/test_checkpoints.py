"""Systems of the field, with random weights of their own, give the same scores here as there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ablation.config.layered import read_base
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


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_scores_agree_with_the_system_they_come_from(system: str, padded: bool) -> None:
    model, said = theirs(system)
    given, wanted = scores(ours(system, model, said), model, padded)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=0)


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
    ("llama", {"head_dim": 12}),
    ("llama", {"head_dim": 4, "num_key_value_heads": 4}),
    ("olmo2", {"head_dim": 4}),
    ("gemma2", {"head_dim": 16, "query_pre_attn_scalar": 8}),  # wider together than the stream, as published
    ("t5", {"d_kv": 4}),
    ("t5", {"d_kv": 8, "num_heads": 3, "feed_forward_proj": "gated-gelu"}),  # as v1.1 small: 32 is no multiple of 3
]


@pytest.mark.parametrize(("system", "changes"), VARIANTS)
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_scores_agree_with_other_forms_of_a_system(system: str, changes: dict[str, Any], padded: bool) -> None:
    model, said = theirs(system, **changes)
    given, wanted = scores(ours(system, model, said), model, padded)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("system", "changes", "d_head"),
    [
        ("llama", {}, None),
        ("llama", {"head_dim": None}, None),
        ("gemma2", {}, None),
        ("t5", {}, None),
        ("llama", {"head_dim": 128}, 128),
        ("olmo2", {"head_dim": 128}, 128),
        ("gemma2", {"head_dim": 256, "num_attention_heads": 16, "hidden_size": 3584}, 256),  # 9b
        ("t5", {"d_kv": 64, "num_heads": 6, "d_model": 512}, 64),  # v1.1 small
        ("t5", {"d_kv": 128, "num_heads": 32, "d_model": 1024}, 128),  # 3b
    ],
)
def test_the_width_of_heads_is_said_where_it_is_not_a_share_of_the_model(
    system: str, changes: dict[str, Any], d_head: int | None
) -> None:
    model = checkpoint_of(system).model({**said_by(system), **changes})
    assert model.get("d_head") == d_head == validated(model).d_head


FOREIGN = [
    ("deberta-v2", {"conv_kernel_size": 3}, "convolution"),
    ("deberta-v2", {"position_biased_input": True}, "absolute positions"),
    ("deberta-v2", {"type_vocab_size": 2}, "segments"),
    ("deberta-v2", {"relative_attention": False}, "relative_attention off"),
    ("deberta-v2", {"pos_att_type": None}, "without c2p and p2c"),
    ("deberta-v2", {"embedding_size": 16}, "embedding_size"),
    ("deberta-v2", {"attention_head_size": 16}, "attention_head_size"),
    ("deberta-v2", {"hidden_act": "relu"}, "hidden_act"),
    ("deberta-v2", {"tie_word_embeddings": False}, "tie_word_embeddings off"),
    ("deberta", {"talking_head": True}, "heads that are mixed"),
    ("gpt_neo", {"attention_types": [[["local", "global"], 1], [["global", "local"], 1]]}, "repeated, would be"),
    ("gpt_neo", {"attention_types": [[["global", "global", "local"], 1], [["local"], 1]]}, "repeated, would be"),
    ("gpt_neo", {"activation_function": "relu"}, "gelu_new is"),
    ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln True is not imported; False is"),
    ("mpt", {"attn_config": {"clip_qkv": 6.0}}, "attn_config.clip_qkv 6.0 is not imported; None is"),
]


@pytest.mark.parametrize(("system", "changes", "message"), FOREIGN)
def test_what_cannot_be_carried_is_refused(system: str, changes: dict[str, Any], message: str) -> None:
    checkpoint, said = checkpoint_of(system), said_by(system)
    checkpoint.model(said)
    with pytest.raises(ValueError, match=message):
        checkpoint.model({**said, **changes})


def test_the_published_names_of_the_sizes_of_bloom_are_read_too() -> None:
    checkpoint, (model, said) = checkpoint_of("bloom"), theirs("bloom")
    published = {"hidden_size": "n_embed", "n_head": "num_attention_heads"}
    renamed = {published.get(name, name): value for name, value in said.items()}
    assert checkpoint.model(renamed) == checkpoint.model(said)
    assert checkpoint.weights(renamed, model.state_dict()).keys() == checkpoint.weights(said, model.state_dict()).keys()


def test_every_checkpoint_is_compared() -> None:
    assert set(REGISTRY["checkpoint"]) <= set(SYSTEMS)


# The systems as files.

FILES = {file.stem: file for file in (Path(__file__).resolve().parents[1] / "conf" / "models").glob("*.yaml")}
CALLED = {"transformer_2017": "marian", "gpt3": "gpt2", "deberta": "deberta-v2"}
"""Files that are not called as the member they are compared with."""
SIZES = {"d_model", "n_layers", "n_heads", "n_kv_heads", "d_head", "max_length", "encoder_layers", "expansion"}
SIZES |= {"window", "buckets", "max_distance"}
DEBERTA_V3_BASE = {
    "model_type": "deberta-v2",
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 0,
    "vocab_size": 128100,
}
"""The config.json of microsoft/deberta-v3-base."""


def said_by(system: str) -> dict[str, Any]:
    family, settings = SYSTEMS[system]
    return getattr(transformers, f"{family}Config")(**settings).to_dict()


def parts(values: Any, path: str = "") -> dict[str, Any]:
    """Every setting of a model by its path, but for sizes and for dropout, which no score could tell of."""
    if not isinstance(values, dict):
        is_size = isinstance(values, float) and path.endswith(".scale")  # 1 / sqrt(width)
        return {path: "a number" if is_size else values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in SIZES | {"dropout"}:
            found |= parts(value, f"{path}.{key}")
    return found


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_of_a_system_has_the_parts_that_are_compared(name: str) -> None:
    system = CALLED.get(name, name)
    model = checkpoint_of(system).model(said_by(system))
    if name == "gpt3":
        bands = checkpoint_of("gpt_neo").model(said_by("gpt_neo"))["mixer"]
        model["mixer"] |= {key: bands[key] for key in ("window", "global_every")}
    written = read_base(FILES[name]).build().model
    assert parts(written.model_dump(mode="json")) == parts(validated(model).model_dump(mode="json"))


def test_the_file_of_gpt3_has_a_window_in_every_other_layer() -> None:
    mixer = read_base(FILES["gpt3"]).build().model.mixer.model_dump()
    assert mixer["window"] is not None and mixer["global_every"] == 2


def test_the_mixer_in_the_file_of_deberta_is_that_of_the_published_v3() -> None:
    published = validated(checkpoint_of("deberta-v2").model(DEBERTA_V3_BASE))
    assert read_base(FILES["deberta"]).build().model.mixer == published.mixer
