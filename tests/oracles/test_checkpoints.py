"""Systems of the field, with random weights of their own, give the same scores here as there."""

from typing import Any

import pytest
import torch
from support import CONF
from support.parity import SYSTEMS, VARIANTS, checkpoint_of, ours, said_by, scores, theirs, validated

from ablation.config.layered import read_base
from ablation.registry import REGISTRY


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_scores_agree_with_the_system_they_come_from(system: str, padded: bool) -> None:
    model, said = theirs(system)
    given, wanted = scores(ours(system, model, said), model, padded)
    torch.testing.assert_close(given, wanted, atol=1e-5, rtol=0)


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
def test_head_width_is_given_where_it_differs_from_the_default(
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
    ("deberta", {"talking_head": True}, "talking_head, mixed heads"),
    ("gpt_neo", {"activation_function": "relu"}, "only gelu_new"),
    ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln True cannot be imported, only False"),
    ("mpt", {"attn_config": {"clip_qkv": 6.0}}, "attn_config.clip_qkv 6.0 cannot be imported, only None"),
]


@pytest.mark.parametrize(("system", "changes", "message"), FOREIGN)
def test_unsupported_checkpoint_is_refused(system: str, changes: dict[str, Any], message: str) -> None:
    checkpoint, said = checkpoint_of(system), said_by(system)
    checkpoint.model(said)
    with pytest.raises(ValueError, match=message):
        checkpoint.model({**said, **changes})


def test_published_names_of_the_sizes_of_bloom_are_read_too() -> None:
    checkpoint, (model, said) = checkpoint_of("bloom"), theirs("bloom")
    published = {"hidden_size": "n_embed", "n_head": "num_attention_heads"}
    renamed = {published.get(name, name): value for name, value in said.items()}
    assert checkpoint.model(renamed) == checkpoint.model(said)
    assert checkpoint.weights(renamed, model.state_dict()).keys() == checkpoint.weights(said, model.state_dict()).keys()


def test_every_checkpoint_is_compared() -> None:
    assert set(REGISTRY["checkpoint"]) <= set(SYSTEMS)


# The systems as files.

FILES = {file.stem: file for file in (CONF / "models").glob("*.yaml")}
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
def test_file_of_a_system_has_the_parts_that_are_compared(name: str) -> None:
    system = CALLED.get(name, name)
    model = checkpoint_of(system).model(said_by(system))
    if name == "gpt3":
        replica = checkpoint_of("gpt_neo").model(said_by("gpt_neo"))
        model["mixer"]["window"], model["layers"] = replica["mixer"]["window"], replica["layers"]
    written = read_base(FILES[name]).build().model
    assert parts(written.model_dump(mode="json")) == parts(validated(model).model_dump(mode="json"))


def test_file_of_gpt3_has_a_window_in_every_other_layer() -> None:
    model = read_base(FILES["gpt3"]).build().model
    windows = [model.layer(layer).mixer.window for layer in range(4)]
    assert windows[0] is not None and windows[1] is None and windows[2:] == windows[:2]


def test_mixer_in_file_of_deberta_is_that_of_published_v3() -> None:
    published = validated(checkpoint_of("deberta-v2").model(DEBERTA_V3_BASE))
    assert read_base(FILES["deberta"]).build().model.mixer == published.mixer
