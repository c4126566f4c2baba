"""Every kind of attention against the module of transformers that has it, with the same weights.

transformers takes its softmax in float32, which is undone here, and its norms too: hence the tolerance.
"""

from typing import Any

import pytest
import torch
from support.attention import GROUPED, SHAPE, X, build, wide
from torch import Tensor, nn
from transformers.masking_utils import sliding_window_causal_mask_function

from ablation.components.architecture.masks import bidirectional_context, causal_context
from ablation.components.base import BuildContext
from ablation.components.context import ForwardContext
from ablation.components.position.base import Position

HIDDEN = torch.finfo(torch.float64).min
TRIANGLE = torch.ones(9, 9, dtype=torch.bool).tril()
SIZES = {
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "attn_implementation": "eager",
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-6,
}
TOLERANCE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(autouse=True)
def softmax_in_the_precision_of_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.functional, "softmax", lambda x, dim, dtype=None: x.softmax(dim))


def additive(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, HIDDEN)[None, None]


def angles(features: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (1, L, features) of rotary positions, in the layout of LLaMA."""
    turn = 10_000.0 ** (-torch.arange(0, features, 2, dtype=torch.float64) / features)
    angle = torch.arange(9)[:, None] * turn
    angle = torch.cat([angle, angle], -1)[None]
    return angle.cos(), angle.sin()


def context(position: str = "rope", shape: BuildContext = GROUPED) -> ForwardContext:
    return causal_context(build("position", position, shape).double(), X[..., 0], None, None, None, None)


def copy(to: nn.Linear, of: nn.Linear) -> None:
    to.weight.data = of.weight.data.clone()
    if to.bias is not None:
        to.bias.data = of.bias.data.clone()


def with_maps_of(oracle: nn.Module, mixer: Any) -> Any:
    """The mixer with the oracle's maps, which have the names that most modules of transformers share."""
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    for to, name in zip((mixer.query, mixer.key, mixer.value, mixer.out), names, strict=True):
        copy(to, getattr(oracle, name))
    return mixer


@torch.no_grad()
def test_grouped_attention_is_that_of_llama() -> None:
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaConfig

    oracle = wide(LlamaAttention(LlamaConfig(**SIZES), 0))
    mixer = with_maps_of(oracle, wide(build("mixer", "attention", GROUPED)))
    expected, _ = oracle(X, angles(4), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context()), expected, **TOLERANCE)


@torch.no_grad()
def test_qk_norm_per_head_is_that_of_qwen_3() -> None:
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3Config

    oracle = wide(Qwen3Attention(Qwen3Config(**SIZES), 0))
    mixer = with_maps_of(oracle, wide(build("mixer", "attention", GROUPED, qk_norm="rms")))
    mixer.qk_norm.query.weight.data, mixer.qk_norm.key.weight.data = oracle.q_norm.weight, oracle.k_norm.weight
    expected, _ = oracle(X, angles(4), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context()), expected, **TOLERANCE)


@torch.no_grad()
def test_qk_norm_over_the_full_width_is_that_of_olmo_2() -> None:
    from transformers.models.olmo2.modeling_olmo2 import Olmo2Attention, Olmo2Config

    oracle = wide(Olmo2Attention(Olmo2Config(**SIZES), 0))
    mixer = with_maps_of(oracle, wide(build("mixer", "attention", GROUPED, qk_norm="rms_full")))
    mixer.qk_norm.query.weight.data, mixer.qk_norm.key.weight.data = oracle.q_norm.weight, oracle.k_norm.weight
    expected, _ = oracle(X, angles(4), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context()), expected, **TOLERANCE)


@pytest.mark.parametrize("layer", [0, 1])
@torch.no_grad()
def test_soft_cap_scale_and_windows_equal_gemma_2(layer: int) -> None:
    from dataclasses import replace

    from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention, Gemma2Config

    settings = {"query_pre_attn_scalar": 1, "attn_logit_softcapping": 3.0, "sliding_window": 3}
    config = Gemma2Config(**SIZES, num_hidden_layers=2, **settings)
    oracle = wide(Gemma2Attention(config, layer))
    hyper = {"scale": 1.0, "soft_cap": 3.0, "window": 3 if layer == 0 else None, "backend": "manual"}
    mixer = with_maps_of(oracle, wide(build("mixer", "attention", replace(GROUPED, layer=layer), **hyper)))
    within = sliding_window_causal_mask_function(oracle.sliding_window or 100)
    seen = torch.tensor([[bool(within(0, 0, i, j)) for j in range(9)] for i in torch.arange(9)])
    assert (oracle.sliding_window == 3) == (layer == 0)
    expected, _ = oracle(X, angles(4), additive(seen))
    torch.testing.assert_close(mixer(X, context()), expected, **TOLERANCE)


@torch.no_grad()
def test_sinks_are_those_of_gpt_oss() -> None:
    from transformers.models.gpt_oss.modeling_gpt_oss import GptOssAttention, GptOssConfig

    oracle = wide(GptOssAttention(GptOssConfig(**SIZES, attention_bias=True, num_hidden_layers=2), 0))
    mixer = with_maps_of(oracle, wide(build("mixer", "attention", GROUPED, bias=True, sinks=True, backend="manual")))
    mixer.sinks.data = oracle.sinks.data
    expected, _ = oracle(X, tuple(part[..., :2] for part in angles(4)), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context()), expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_gate_per_feature_is_that_of_qwen_3_next() -> None:
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention, Qwen3NextConfig

    oracle = wide(Qwen3NextAttention(Qwen3NextConfig(**SIZES), 0))
    mixer = wide(build("mixer", "attention", GROUPED, gate="feature", qk_norm="rms"))
    queries_and_gates = oracle.q_proj.weight.data.view(4, 2, 4, 16)  # (head, which, feature, M)
    mixer.query.weight.data, mixer.gate.weight.data = (queries_and_gates[:, which].reshape(16, 16) for which in (0, 1))
    for to, of in ((mixer.key, oracle.k_proj), (mixer.value, oracle.v_proj), (mixer.out, oracle.o_proj)):
        copy(to, of)
    mixer.qk_norm.query.weight.data = 1 + oracle.q_norm.weight.data
    mixer.qk_norm.key.weight.data = 1 + oracle.k_norm.weight.data
    expected, _ = oracle(X, angles(4), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context()), expected, **TOLERANCE)


@torch.no_grad()
def test_gate_per_head_is_its_formula() -> None:
    mixer, plain = (wide(build("mixer", "attention", GROUPED, gate=gate)) for gate in ("head", None))
    plain.load_state_dict({path: value for path, value in mixer.state_dict().items() if "gate" not in path})
    plain.out = nn.Identity()
    read = plain(X, context())
    for head in range(4):
        read[..., 4 * head : 4 * head + 4] *= (X @ mixer.gate.weight[head]).sigmoid().unsqueeze(-1)
    torch.testing.assert_close(mixer(X, context()), mixer.out(read), rtol=0, atol=1e-12)


@pytest.mark.parametrize("neighbors", [False, True])
@pytest.mark.parametrize("query_rank", [None, 6])
@torch.no_grad()
def test_latent_attention_is_that_of_deepseek(query_rank: int | None, neighbors: bool) -> None:
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention, DeepseekV3Config

    sizes = {
        "q_lora_rank": query_rank,
        "kv_lora_rank": 5,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
    }
    rest = {key: value for key, value in SIZES.items() if key not in ("head_dim", "num_key_value_heads")}
    oracle = wide(
        DeepseekV3Attention(DeepseekV3Config(**rest, **sizes, num_key_value_heads=4, rope_interleave=neighbors), 0)
    )
    mixer = wide(build("mixer", "latent", SHAPE, query_rank=query_rank, rank=5, rope=4))
    order = torch.tensor([0, 2, 1, 3]) if neighbors else torch.arange(4)
    rows = torch.cat([torch.cat([8 * head + torch.arange(4), 8 * head + 4 + order]) for head in range(4)])
    if query_rank is None:
        mixer.query.weight.data = oracle.q_proj.weight.data[rows]
    else:
        copy(mixer.query[0], oracle.q_a_proj)
        mixer.query[1].weight.data = oracle.q_a_layernorm.weight.data
        mixer.query[2].weight.data = oracle.q_b_proj.weight.data[rows]
    mixer.down.weight.data = oracle.kv_a_proj_with_mqa.weight.data[:5]
    mixer.placed_key.weight.data = oracle.kv_a_proj_with_mqa.weight.data[5:][order]
    mixer.norm.weight.data = oracle.kv_a_layernorm.weight.data
    keys_and_values = oracle.kv_b_proj.weight.data.view(4, 2, 4, 5)
    mixer.key.weight.data, mixer.value.weight.data = (keys_and_values[:, which].reshape(16, 5) for which in (0, 1))
    copy(mixer.out, oracle.o_proj)
    expected, _ = oracle(X, angles(4), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context("none", SHAPE)), expected, **TOLERANCE)


@pytest.mark.parametrize("layer", [0, 1, 5])
@torch.no_grad()
def test_differential_attention_is_that_of_diffllama(layer: int) -> None:
    from dataclasses import replace

    from transformers.models.diffllama.modeling_diffllama import DiffLlamaAttention, DiffLlamaConfig

    oracle = wide(DiffLlamaAttention(DiffLlamaConfig(**{**SIZES, "rms_norm_eps": 1e-5}), layer))
    mixer = with_maps_of(oracle, wide(build("mixer", "differential", replace(GROUPED, layer=layer))))
    mixer.norm.weight.data.fill_(1.0)
    for which in (1, 2):
        vectors = [getattr(oracle, f"lambda_{of}{which}").data for of in ("q", "k")]
        mixer.vectors.data[which - 1] = torch.stack(vectors)
    expected, _ = oracle(X, angles(4), additive(TRIANGLE))
    torch.testing.assert_close(mixer(X, context()), expected, **TOLERANCE)


def speech(kind: str) -> Any:
    from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertConfig, Wav2Vec2BertSelfAttention

    config = Wav2Vec2BertConfig(
        hidden_size=16,
        num_attention_heads=4,
        attention_dropout=0.0,
        position_embeddings_type=kind,
        left_max_position_embeddings=3,
        right_max_position_embeddings=3,
        attn_implementation="eager",
    )
    return wide(Wav2Vec2BertSelfAttention(config)), config


def with_maps_of_speech(oracle: Any, mixer: Any) -> Any:
    for name in ("query", "key", "value", "out"):
        copy(getattr(mixer, name), getattr(oracle, "linear_" + ("out" if name == "out" else name[0])))
    return mixer


def bidirectional() -> ForwardContext:
    return bidirectional_context(Position(SHAPE), X[..., 0], None, None)


@torch.no_grad()
def test_key_part_of_shaw_is_that_of_wav2vec_2_bert() -> None:
    from dataclasses import replace

    oracle, _ = speech("relative_key")
    encoder = replace(SHAPE, causal=False)
    mixer = with_maps_of_speech(oracle, wide(build("mixer", "shaw", encoder, clip=3, values=False, bias=True)))
    mixer.key_table.weight.data = oracle.distance_embedding.weight.data.flip(0)  # there the max_distance past is first
    torch.testing.assert_close(mixer(X, bidirectional()), oracle(X)[0], **TOLERANCE)


@pytest.mark.parametrize("is_causal", [True, False])
@torch.no_grad()
def test_transformer_xl_is_relative_attention_of_wav2vec_2_bert(is_causal: bool) -> None:
    from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertRelPositionalEmbedding

    oracle, config = speech("relative")
    mixer = with_maps_of_speech(oracle, wide(build("mixer", "transformer_xl", SHAPE, bias=True)))
    sines, cosines = oracle.linear_pos.weight.data[:, 0::2], oracle.linear_pos.weight.data[:, 1::2]
    mixer.distance.weight.data = torch.cat([sines, cosines], 1)
    mixer.content_bias.data = oracle.pos_bias_u.data.unsqueeze(1)
    mixer.distance_bias.data = oracle.pos_bias_v.data.unsqueeze(1)
    places = Wav2Vec2BertRelPositionalEmbedding(config)(X).double()
    expected, _ = oracle(X, additive(TRIANGLE) if is_causal else None, places)
    torch.testing.assert_close(
        mixer(X, context("none", SHAPE) if is_causal else bidirectional()), expected, **TOLERANCE
    )


@torch.no_grad()
def test_transformer_xl_is_the_relative_attention_of_xlnet() -> None:
    """With the sines before the cosines, as in the code of Transformer-XL, and lengths first."""
    from transformers.models.xlnet.modeling_xlnet import XLNetConfig, XLNetRelativeAttention

    oracle = wide(XLNetRelativeAttention(XLNetConfig(d_model=16, n_head=4, d_inner=16, dropout=0.0)))
    mixer = wide(build("mixer", "transformer_xl", SHAPE))
    for to, of in ((mixer.query, oracle.q), (mixer.key, oracle.k), (mixer.value, oracle.v), (mixer.distance, oracle.r)):
        to.weight.data = of.data.flatten(1).T.contiguous()
    mixer.out.weight.data = oracle.o.data.flatten(1)
    mixer.content_bias.data, mixer.distance_bias.data = oracle.r_w_bias.unsqueeze(1), oracle.r_r_bias.unsqueeze(1)
    angle = torch.arange(9, -9, -1)[:, None] * 10_000.0 ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    places = torch.cat([angle.sin(), angle.cos()], -1)[:, None].expand(-1, 3, -1)
    oracle.layer_norm = nn.Identity()
    hidden = (~TRIANGLE).double()[:, :, None, None].expand(-1, -1, 3, 1)
    expected = oracle(X.transpose(0, 1), None, hidden, None, places, None)[0].transpose(0, 1) - X
    torch.testing.assert_close(mixer(X, context("none", SHAPE)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("terms", [["c2p", "p2c"], ["c2p"], ["p2c"]])
@pytest.mark.parametrize("buckets", [4, None])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("is_causal", [True, False])
@torch.no_grad()
def test_disentangled_attention_is_that_of_deberta(
    is_causal: bool, shared: bool, buckets: int | None, terms: list[str]
) -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Config, DisentangledSelfAttention

    max_distance = 8 if buckets else 5  # so that the 8 distances reach the end of the table
    config = DebertaV2Config(
        hidden_size=16,
        num_attention_heads=4,
        relative_attention=True,
        position_buckets=buckets or -1,
        max_relative_positions=max_distance,
        share_att_key=shared,
        pos_att_type=terms,
    )
    oracle = wide(DisentangledSelfAttention(config))
    hyper = {"share_projections": shared, "content_to_position": "c2p" in terms, "position_to_content": "p2c" in terms}
    mixer = wide(build("mixer", "disentangled", SHAPE, buckets=buckets, max_distance=max_distance, bias=True, **hyper))
    maps = {"query_proj": mixer.query, "key_proj": mixer.key, "value_proj": mixer.value}
    maps |= {"pos_key_proj": mixer.table_key, "pos_query_proj": mixer.table_query}
    for name, to in maps.items():
        if to is not None:
            copy(to, getattr(oracle, name))
    table = nn.functional.layer_norm(
        mixer.table.weight, (16,), mixer.table_norm.weight, mixer.table_norm.bias, eps=config.layer_norm_eps
    )
    seen = (TRIANGLE if is_causal else torch.ones_like(TRIANGLE)).expand(3, 1, -1, -1)
    expected = mixer.out(oracle(X, seen, rel_embeddings=table)[0])
    here = context("none", SHAPE) if is_causal else bidirectional()
    torch.testing.assert_close(mixer(X, here), expected, **TOLERANCE)
