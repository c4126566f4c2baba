"""Positions against implementations of others, where there are any, and against the papers' formulas written out."""

import cmath
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ablation.components.base import BuildContext
from ablation.components.context import Cache
from ablation.components.position.absolute import Learned, Sinusoidal
from ablation.components.position.base import Position
from ablation.components.position.bias import T5, Alibi, alibi_slopes
from ablation.components.position.kernel import Fire, KerpleLog, KerplePower
from ablation.components.position.rotary import Rope, XPos
from ablation.model.generate import SamplingParams, generate
from ablation.registry import REGISTRY

TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
NEW = [
    "xpos",
    "kerple_log",
    "kerple_power",
    "fire",
    "t5",
    "alibi",
    {"name": "rope", "rotary_fraction": 0.5},
    {"name": "rope", "layout": "interleaved", "scaling": "linear"},
    {"name": "rope", "rotary_fraction": 0.5, "layout": "interleaved", "scaling": "llama3"},
    {"name": "rope", "scaling": {"name": "yarn", "factor": 8.0}},
    {"name": "rope", "scaling": "ntk"},
]
BY_LENGTH = [
    {"name": "rope", "scaling": {"name": "dynamic_ntk", "original_length": 5}},
    {"name": "rope", "scaling": {"name": "longrope", "original_length": 5}},
]
"""Those that move what was said before when a text grows."""
each_new = pytest.mark.parametrize("position", NEW + BY_LENGTH, ids=str)


def shape(d_head: int = 16, n_heads: int = 2, max_length: int = 2048, causal: bool = True) -> BuildContext:
    return BuildContext(
        d_model=d_head * n_heads,
        n_layers=2,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        max_length=max_length,
        causal=causal,
    )


def build(slot: str, name: str, *handed_in: Any, **hyper: Any) -> Any:
    return REGISTRY[slot][name](name=name, **hyper).build(*handed_in)


def scaling(name: str, **hyper: Any) -> Any:
    return REGISTRY["rope_scaling"][name](name=name, **hyper)


def heads(d_head: int = 16, length: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Queries and keys, (3, 2, L, D): texts, heads, tokens, features."""
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 3, 2, length, d_head, generator=generator, dtype=torch.float64).to(dtype)
    return q, k


def scores(position: Position, q: Tensor, k: Tensor, positions: Tensor) -> Tensor:
    q, k = position.rotate(q, k, positions, positions)
    bias = position.bias(q, k, positions, positions)
    return q @ k.mT + (0 if bias is None else bias)


def moved(position: Any) -> Any:
    """Its parameters moved off their starts, in float64."""
    position = position.double()
    with torch.no_grad():
        for parameter in position.parameters():
            parameter += torch.rand(parameter.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return position


# RoPE


def hugging_face_rope(d_head: int, length: int = 2048, **rope: Any) -> tuple[Tensor, float]:
    """Frequencies and attention factor, computed in float32."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    seq_len = rope.pop("seq_len", None)
    config = LlamaConfig(
        hidden_size=2 * d_head, num_attention_heads=2, max_position_embeddings=length, rope_parameters=rope
    )
    frequency, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, seq_len=seq_len)
    return frequency, factor


YARN = {"rope_type": "yarn", "original_max_position_embeddings": 512}
LLAMA3 = {"rope_type": "llama3", "original_max_position_embeddings": 512}


@pytest.mark.parametrize("d_head", [8, 64, 128])
@pytest.mark.parametrize("theta", [10_000.0, 500_000.0])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (scaling("linear", factor=4.0), {"rope_type": "linear", "factor": 4.0}),
        (scaling("linear", factor=1.5), {"rope_type": "linear", "factor": 1.5}),
        # Dynamic scaling of a text five times as long, by (factor * 5 - factor + 1), where it no longer changes.
        (scaling("ntk", factor=5.0), {"rope_type": "dynamic", "factor": 1.0, "seq_len": 5 * 2048}),
        (scaling("ntk", factor=9.0), {"rope_type": "dynamic", "factor": 2.0, "seq_len": 5 * 2048}),
        (scaling("yarn", factor=4.0, original_length=512), YARN | {"factor": 4.0}),
        (scaling("yarn", factor=1.0, original_length=512), YARN | {"factor": 1.0}),
        (scaling("yarn", original_length=512, truncate=False), YARN | {"factor": 4.0, "truncate": False}),
        (scaling("yarn", original_length=512, attention_factor=0.7), YARN | {"factor": 4.0, "attention_factor": 0.7}),
        (
            scaling("yarn", factor=16.0, original_length=4096, beta_fast=20.0, beta_slow=2.5),
            YARN | {"factor": 16.0, "original_max_position_embeddings": 4096, "beta_fast": 20.0, "beta_slow": 2.5},
        ),
        (scaling("yarn", factor=40.0), YARN | {"factor": 40.0, "original_max_position_embeddings": 2048}),
        (
            scaling("llama3", factor=8.0, original_length=512),
            LLAMA3 | {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        ),
        (
            scaling("llama3", factor=3.0, low=2.0, high=7.0),
            LLAMA3
            | {
                "factor": 3.0,
                "low_freq_factor": 2.0,
                "high_freq_factor": 7.0,
                "original_max_position_embeddings": 2048,
            },
        ),
    ],
)
def test_scaled_frequencies_and_factor_equal_transformers(
    ours: Any, theirs: dict[str, Any], theta: float, d_head: int
) -> None:
    position = Rope(shape(d_head), theta=theta, scaling=ours)
    frequency, factor = hugging_face_rope(d_head, rope_theta=theta, **theirs)
    torch.testing.assert_close(position.frequency, frequency, rtol=1e-5, atol=0)
    assert position.gain == pytest.approx(factor, rel=1e-12)


SHORT = tuple(1 + 0.1 * j for j in range(8))
LONG = tuple(1.0 + j for j in range(8))
LONGROPE = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 512,
    "short_factor": SHORT,
    "long_factor": LONG,
    "factor": 4.0,
}


@pytest.mark.parametrize("length", [300, 512, 513, 1024, 2048])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (scaling("dynamic_ntk", original_length=512), {"rope_type": "dynamic", "factor": 4.0}),
        (scaling("dynamic_ntk", factor=1.0, original_length=512), {"rope_type": "dynamic", "factor": 1.0}),
        (scaling("longrope", short=SHORT, long=LONG, original_length=512), LONGROPE),
        (
            scaling("longrope", short=SHORT, long=LONG, original_length=512, attention_factor=1.5),
            LONGROPE | {"attention_factor": 1.5},
        ),
    ],
)
def test_scaled_rotation_equals_transformers_at_any_length(ours: Any, theirs: dict[str, Any], length: int) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    longest = 512 if theirs["rope_type"] == "dynamic" else 2048  # what theirs calls the original length, dynamically
    config = LlamaConfig(
        hidden_size=32,
        num_attention_heads=2,
        max_position_embeddings=longest,
        rope_parameters=theirs | {"rope_theta": 10_000.0},
    )
    q, k = heads(dtype=torch.float32)
    positions = torch.tensor([0, 1, 5, 11, 150, length - 1])
    expected = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, positions[None]))
    got = Rope(shape(), scaling=ours).rotate(q, k, positions, positions)
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("name", ["dynamic_ntk", "longrope"])
def test_scaling_by_length_is_per_sequence_and_refuses_a_cache(name: str) -> None:
    (q, k), short, far = heads(), torch.arange(6), torch.tensor([0, 1, 5, 11, 30, 800])
    position = Rope(shape(), scaling=scaling(name, original_length=512)).double()
    together = position.rotate(q, k, torch.stack([short, far, short]), torch.stack([short, far, short]))[1]
    assert torch.equal(together[0], position.rotate(q, k, short, short)[1][0])
    assert torch.equal(together[1], position.rotate(q, k, far, far)[1][1])
    plain = Rope(shape()).double()
    assert torch.allclose(together[0] / position.gain, plain.rotate(q, k, short, short)[1][0], rtol=0, atol=1e-12)
    assert not torch.allclose(together[1] / position.gain, plain.rotate(q, k, far, far)[1][1], rtol=0, atol=0.1)
    assert not position.cacheable and plain.cacheable


def test_longrope_wants_divisor_for_every_pair_and_begins_at_ntk() -> None:
    with pytest.raises(ValueError, match="longrope: long has 2 divisors for 8 pairs of features"):
        Rope(shape(), scaling=scaling("longrope", long=(1.0, 2.0)))
    with pytest.raises(ValueError, match="one pair cannot be both"):
        Rope(shape(2), scaling=scaling("dynamic_ntk"))
    long = Rope(shape(), scaling=scaling("longrope", factor=6.0)).double().frequency[1]
    torch.testing.assert_close(long, Rope(shape(), scaling=scaling("ntk", factor=6.0)).double().frequency)


@pytest.mark.parametrize("name", ["linear", "ntk", "yarn", "llama3"])
def test_scaling_by_one_is_the_identity(name: str) -> None:
    frequency, theta = Rope(shape()).double().frequency, 10_000.0
    position = Rope(shape(), theta=theta, scaling=scaling(name, factor=1.0)).double()
    torch.testing.assert_close(position.frequency, frequency, rtol=1e-14, atol=0)
    assert position.gain == 1.0


@pytest.mark.parametrize("name", ["linear", "ntk", "yarn", "llama3"])
def test_scaling_slows_the_slowest_pair_by_its_factor(name: str) -> None:
    before = Rope(shape(64)).double().frequency
    after = Rope(shape(64), scaling=scaling(name, factor=6.0)).double().frequency
    assert (before / after)[-1].item() == pytest.approx(6.0, rel=1e-12)
    assert (before / after)[0].item() == pytest.approx(6.0 if name == "linear" else 1.0, rel=1e-12)
    assert ((before / after).diff() >= -1e-12).all()


def test_frequencies_are_exact_in_float64() -> None:
    for j, frequency in enumerate(Rope(shape(64), theta=5e5).double().frequency.tolist()):
        assert frequency == pytest.approx(5e5 ** (-2 * j / 64), rel=1e-15)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
def test_interleaved_rope_rotates_complex_pairs_and_keeps_the_rest(fraction: float) -> None:
    q, k = heads()
    positions = torch.tensor([[0, 1, 5, 11, 30, 31], [7, 8, 9, 10, 11, 90_000], [3, 2, 1, 0, 4, 4]])
    position = Rope(shape(), rotary_fraction=fraction, layout="interleaved").double()
    turned, features = position.rotate(q, k, positions, positions)[1], int(16 * fraction)
    for text in range(3):
        for token in range(6):
            for pair in range(features // 2):
                phase = cmath.exp(1j * positions[text, token].item() * 10_000 ** (-2 * pair / features))
                before = complex(*k[text, 1, token, 2 * pair : 2 * pair + 2].tolist())
                after = complex(*turned[text, 1, token, 2 * pair : 2 * pair + 2].tolist())
                assert after == pytest.approx(before * phase, abs=1e-10)
    assert torch.equal(turned[..., features:], k[..., features:])


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_halves_are_neighbors_up_to_a_permutation(fraction: float) -> None:
    (q, k), features, positions = heads(), int(16 * fraction), torch.tensor([0, 3, 4, 9, 200, 1000])
    order = torch.cat([torch.arange(0, features, 2), torch.arange(1, features, 2), torch.arange(features, 16)])
    halves, neighbors = (
        Rope(shape(), rotary_fraction=fraction, layout=pairs).double() for pairs in ("half", "interleaved")
    )
    expected = scores(neighbors, q, k, positions)
    torch.testing.assert_close(scores(halves, q[..., order], k[..., order], positions), expected, rtol=0, atol=1e-12)
    assert (scores(halves, q, k, positions) - expected).abs().max() > 0.1


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_halves_are_turned_as_in_gpt_neox(fraction: float) -> None:
    from transformers import GPTNeoXConfig
    from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding, apply_rotary_pos_emb

    q, k = heads(dtype=torch.float32)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": fraction}
    config = GPTNeoXConfig(hidden_size=32, num_attention_heads=2, rope_parameters=rope)
    positions = torch.tensor([0, 1, 5, 11, 300, 500])  # farther, their frequencies, rounded twice, are what differs
    cos, sin = GPTNeoXRotaryEmbedding(config)(q, positions[None])
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    torch.testing.assert_close(
        Rope(shape(), rotary_fraction=fraction).rotate(q, k, positions, positions), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_neighbors_are_turned_as_in_gpt_j(fraction: float) -> None:
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb, create_sinusoidal_positions

    q, k = heads(dtype=torch.float32)
    features, positions = int(16 * fraction), torch.tensor([0, 1, 5, 11, 300, 500])
    sin, cos = create_sinusoidal_positions(501, features)[positions][None].chunk(2, -1)
    position = Rope(shape(), rotary_fraction=fraction, layout="interleaved")
    for ours, x in zip(position.rotate(q, k, positions, positions), (q, k), strict=True):
        expected = apply_rotary_pos_emb(x.transpose(1, 2)[..., :features], sin, cos).transpose(1, 2)
        torch.testing.assert_close(ours[..., :features], expected, rtol=0, atol=1e-5)
        assert torch.equal(ours[..., features:], x[..., features:])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (scaling("yarn", factor=4.0, original_length=512), YARN | {"factor": 4.0}),
        (
            scaling("llama3", factor=8.0, original_length=512),
            LLAMA3 | {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        ),
    ],
)
def test_scaled_queries_and_keys_are_those_of_llama(ours: Any, theirs: dict[str, Any]) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    q, k = heads(dtype=torch.float32)
    config = LlamaConfig(
        hidden_size=32,
        num_attention_heads=2,
        max_position_embeddings=2048,
        rope_parameters=theirs | {"rope_theta": 10_000.0},
    )
    positions = torch.tensor([0, 1, 5, 11, 300, 2000])
    expected = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, positions[None]))
    got = Rope(shape(), scaling=ours).rotate(q, k, positions, positions)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fraction", [0.3, 0.1, 0.0625])
def test_rope_refuses_a_fraction_with_an_odd_number_of_features(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"pairs of features: rotary_fraction {fraction} of d_head 16 is"):
        Rope(shape(), rotary_fraction=fraction)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("linear", {"factor": 3.0}),
        ("ntk", {"factor": 3.0}),
        *(("llama3", hyper) for hyper in ({"factor": 3.0}, {"original_length": 100}, {"low": 2.0}, {"high": 8.0})),
        *(("yarn", hyper) for hyper in ({"factor": 3.0}, {"original_length": 100}, {"attention_factor": 2.0})),
        *(("yarn", hyper) for hyper in ({"beta_fast": 64.0}, {"beta_slow": 2.0}, {"truncate": False})),
    ],
)
def test_every_hyperparameter_of_a_scaling_changes_the_scores(name: str, hyper: dict[str, Any]) -> None:
    q, k = heads()
    default, changed = (Rope(shape(), scaling=config).double() for config in (scaling(name), scaling(name, **hyper)))
    positions = torch.arange(0, 120, 20)
    assert (scores(default, q, k, positions) - scores(changed, q, k, positions)).abs().max() > 1e-6


def test_scalings_refuse_an_empty_blend() -> None:
    with pytest.raises(ValueError, match=r"yarn: beta_fast 1\.0 must be more rotations than beta_slow 1\.0"):
        Rope(shape(), scaling=scaling("yarn", beta_fast=1.0))
    with pytest.raises(ValueError, match=r"llama3 scaling: high 1\.0 must be more rotations than low 1\.0"):
        Rope(shape(), scaling=scaling("llama3", high=1.0))
    with pytest.raises(ValueError, match="one pair cannot be both"):
        Rope(shape(2), scaling=scaling("ntk"))


def test_yarn_below_one_turn_slows_every_pair_but_the_first() -> None:
    position = Rope(shape(max_length=3), scaling=scaling("yarn", factor=2.0)).double()
    torch.testing.assert_close(position.frequency[1:], Rope(shape()).double().frequency[1:] / 2)


# xPos


@pytest.mark.parametrize(("scale_base", "gamma"), [(512.0, 0.4), (64.0, 0.4), (512.0, 2.0)])
def test_xpos_scores_are_ropes_times_a_decay_per_pair(scale_base: float, gamma: float) -> None:
    q, k = heads()
    positions = [0, 1, 5, 11, 300, 2000]
    got = scores(XPos(shape(), scale_base=scale_base, gamma=gamma).double(), q, k, torch.tensor(positions))
    for query, n in enumerate(positions):
        for key, m in enumerate(positions[: query + 1]):
            expected = 0.0
            for j in range(8):
                phase = cmath.exp(1j * (n - m) * 10_000 ** (-j / 8))
                decay = ((2 * j / 16 + gamma) / (1 + gamma)) ** ((n - m) / scale_base)
                a = complex(q[0, 0, query, j], q[0, 0, query, j + 8])
                b = complex(k[0, 0, key, j], k[0, 0, key, j + 8])
                expected += decay * (a * phase * b.conjugate()).real
            assert got[0, 0, query, key].item() == pytest.approx(expected, abs=1e-10)


def torchscale_xpos(q: Tensor, k: Tensor) -> Tensor:
    """Scores as torchscale computes them for one whole text: neighbors are pairs, centerd on the text's own middle."""
    length, features = q.shape[-2:]
    index = torch.arange(0, features, 2, dtype=torch.float64)
    zeta, place = (index + 0.4 * features) / (1.4 * features), torch.arange(length, dtype=torch.float64)[:, None]
    scale = zeta ** ((place - (length + 1) // 2) / 512)
    angle = place * 10_000 ** (-index / features)

    def turn(x: Tensor, scale: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(scale, angle)
        return torch.view_as_real(turned).flatten(-2)

    return turn(q, scale) @ turn(k, 1 / scale).mT


def test_xpos_scores_are_those_of_torchscale() -> None:
    q, k = heads(length=40)
    order = torch.cat([torch.arange(0, 16, 2), torch.arange(1, 16, 2)])
    got = scores(XPos(shape()).double(), q[..., order], k[..., order], torch.arange(40))
    torch.testing.assert_close(got, torchscale_xpos(q, k), rtol=0, atol=1e-10)


def test_xpos_without_decay_is_rope() -> None:
    (q, k), positions = heads(), torch.tensor([0, 1, 5, 11, 300, 2000])
    expected = scores(Rope(shape(), theta=100.0).double(), q, k, positions)
    got = scores(XPos(shape(), theta=100.0, gamma=1e14).double(), q, k, positions)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_xpos_refuses_lengths_beyond_float32() -> None:
    reach = int(80 * 512 / math.log(1.4 / 0.4))
    with pytest.raises(ValueError, match=f"xpos with scale_base 512 allows {reach} tokens, not {reach + 1}"):
        XPos(shape(max_length=reach + 1))
    q, k = heads(dtype=torch.float32)
    positions = torch.tensor([0, 1, 2, reach - 1, int(1.4 * reach), int(1.4 * reach) + 1])
    got = scores(XPos(shape(max_length=reach)), q, k, positions).tril()
    expected = scores(XPos(shape(max_length=reach)).double(), q.double(), k.double(), positions).tril()
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=0.05)


# Biases


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (32, 20), (8, 64), (64, 512), (4, 600)])
def test_t5_buckets_equal_transformers_in_both_directions(buckets: int, max_distance: int, causal: bool) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(-700, 701)
    expected = T5Attention._relative_position_bucket(-distances, not causal, buckets, max_distance)
    position = T5(shape(causal=causal), buckets=buckets, max_distance=max_distance)
    assert torch.equal(position.bucket(distances), expected)


@pytest.mark.parametrize("causal", [True, False])
def test_t5_bias_is_that_of_transformers(causal: bool) -> None:
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    position = moved(T5(shape(causal=causal)))
    config = T5Config(d_model=32, d_kv=16, num_heads=2, is_decoder=causal)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    theirs.relative_attention_bias.weight.data = position.table.data
    (q, k), positions = heads(length=200), torch.arange(200)
    assert torch.equal(position.bias(q, k, positions, positions), theirs.compute_bias(200, 200))


def test_t5_in_both_directions_needs_quarters() -> None:
    with pytest.raises(ValueError, match="divides its buckets by 4: 6 is not a multiple of 4"):
        T5(shape(causal=False), buckets=6)
    with pytest.raises(ValueError, match="max_distance 8 must lie beyond the 8 distances"):
        T5(shape(causal=False), max_distance=8)


@pytest.mark.parametrize("n_heads", [2, 6, 8, 12])
def test_alibi_equals_bloom_and_mpt_in_a_causal_model(n_heads: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    content, positions = torch.randn(n_heads, 20, 20, dtype=torch.float64), torch.arange(20)
    ahead = torch.ones(20, 20, dtype=torch.bool).triu(1)

    def weights(bias: Tensor) -> Tensor:
        return (content + bias).masked_fill(ahead, float("-inf")).softmax(-1)

    q = k = torch.zeros(1, n_heads, 20, 8, dtype=torch.float64)
    ours = weights(Alibi(shape(8, n_heads)).double().bias(q, k, positions, positions)[0])
    bloom = weights(build_alibi_tensor(torch.ones(1, 20), n_heads, torch.float64))
    mpt = weights(build_mpt_alibi_tensor(n_heads, 20))
    torch.testing.assert_close(ours, bloom, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours, mpt, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["alibi", "kerple_log", "kerple_power"])
def test_bias_of_the_distance_is_the_same_in_both_directions(name: str) -> None:
    (q, k), positions = heads(), torch.tensor([0, 1, 5, 11, 300, 2000])
    bias = moved(build("position", name, shape(causal=False))).bias(q, k, positions, positions)
    assert torch.equal(bias, bias.mT)
    assert (bias[..., 0, 1:].diff() < 0).all()


def test_kerple_is_the_logarithm_or_the_power_of_the_paper() -> None:
    (q, k), positions = heads(), torch.tensor([0, 1, 5, 11, 300, 2000])
    log, power = moved(KerpleLog(shape())), moved(KerplePower(shape()))
    for position in (log, power):
        position.p.data, position.a.data = torch.tensor([[0.3, 1.7], [0.9, 0.02]], dtype=torch.float64)
    for head, (p, a) in enumerate([(0.3, 0.9), (1.7, 0.02)]):
        for query, n in enumerate(positions.tolist()):
            for key, m in enumerate(positions.tolist()):
                got = log.bias(q, k, positions, positions)[0, head, query, key].item()
                assert got == pytest.approx(-p * math.log(1 + a * abs(n - m)), abs=1e-12)
                got = power.bias(q, k, positions, positions)[0, head, query, key].item()
                assert got == pytest.approx(-a * abs(n - m) ** p, rel=1e-12)


def test_kerple_to_the_first_power_is_alibi() -> None:
    (q, k), positions = heads(), torch.arange(6)
    position = KerplePower(shape()).double()
    position.a.data = alibi_slopes(2) + 0.01
    more = 0.01 * (positions[:, None] - positions).abs().double()
    expected = Alibi(shape()).double().bias(q, k, positions, positions) - more
    torch.testing.assert_close(position.bias(q, k, positions, positions), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [KerpleLog, KerplePower])
def test_kerple_is_held_within_its_bounds_and_can_come_back(kind: Any) -> None:
    (q, k), positions = heads(), torch.arange(6)
    below, at, above, two = (kind(shape()).double() for _ in range(4))
    for position, value in ((below, -1.0), (at, 0.01), (above, 3.0), (two, 2.0)):
        position.p.data.fill_(value)
        position.a.data.fill_(min(value, 1.0))
    bias = below.bias(q, k, positions, positions)
    torch.testing.assert_close(bias, at.bias(q, k, positions, positions))
    bias.sum().backward()
    assert (below.p.grad < 0).all() and (below.a.grad < 0).all()
    high, held = (position.bias(q, k, positions, positions) for position in (above, two))
    assert torch.equal(high, held) == (kind is KerplePower)


def fire_written_out(position: Fire, n: int, m: int, head: int) -> float:
    """Entry of the paper's bias for query position n and key position m."""
    c, stretch = position.c.item(), position.stretch.item()
    share = math.log(1 + c * (n - m)) / (math.log(1 + c * max(n, stretch * position.threshold)) + position.eps)
    hidden = [max(0.0, w * share + b) for w, b in zip(position.weight.tolist(), position.shift.tolist(), strict=True)]
    return sum(h * w for h, w in zip(hidden, position.out[:, head].tolist(), strict=True))


@pytest.mark.parametrize("hyper", [{}, {"threshold": 4.0, "width": 5, "c": 2.0, "eps": 0.1}])
def test_fire_is_the_formula_of_the_paper(hyper: dict[str, Any]) -> None:
    (q, k), position = heads(), Fire(shape(), **hyper).double()
    position.initialize(torch.Generator().manual_seed(0))
    batch = torch.tensor([[0, 1, 5, 11, 300, 2000], [3, 4, 5, 6, 7, 8], [0, 0, 0, 1, 2, 3]])
    bias = position.bias(q, k, batch, batch)
    assert bias.shape == (3, 2, 6, 6)
    for text, positions in enumerate(batch.tolist()):
        assert torch.equal(position.bias(q, k, batch[text], batch[text])[0], bias[text])
        for query, n in enumerate(positions):
            for key, m in enumerate(positions[: query + 1]):
                for head in range(2):
                    expected = fire_written_out(position, n, m, head)
                    assert bias[text, head, query, key].item() == pytest.approx(expected, abs=1e-10)


def test_fire_sees_a_shift_only_beyond_its_threshold() -> None:
    (q, k), position = heads(), moved(Fire(shape(), threshold=20.0))
    position.stretch.data.fill_(1.0)
    near, shifted, far = (
        position.bias(q, k, p, p) for p in (torch.arange(6), torch.arange(14, 20), torch.arange(30, 36))
    )
    torch.testing.assert_close(shifted, near, rtol=0, atol=1e-12)
    assert (far - near).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["xpos", "fire"])
def test_decoder_positions_refuse_bidirectional_attention(name: str, configure: Any) -> None:
    from ablation.model.build import build_model

    config = configure({"model.position": name, "model.architecture": "encoder"})
    with pytest.raises(ValueError, match=f"^{name} .*: use it in a decoder$"):
        build_model(config.model, 11, 12, 0)


# Absolute positions


def test_sinusoidal_equals_marians_table_with_permuted_features() -> None:
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    table = MarianSinusoidalPositionalEmbedding(500, 32).create_weight()
    waves = Sinusoidal(shape()).embed(torch.zeros(1, 500, 32), torch.arange(500))[0]
    torch.testing.assert_close(torch.cat([waves[:, 0::2], waves[:, 1::2]], -1), table, rtol=0, atol=5e-5)
    exact = Sinusoidal(shape()).double().embed(torch.zeros(1, 500, 32).double(), torch.arange(500))[0]
    torch.testing.assert_close(torch.cat([exact[:, 0::2], exact[:, 1::2]], -1).float(), table, rtol=0, atol=1e-7)


def test_learned_refuses_exactly_the_positions_beyond_its_table() -> None:
    position, x = Learned(shape(max_length=8)), torch.zeros(2, 10, 32)
    padded = torch.stack([torch.arange(10) - 2, torch.arange(10) - 3]).clamp(min=0)
    assert torch.equal(position.embed(x, padded), position.table(padded))
    for positions in (torch.arange(10), padded + 1, torch.tensor([8])):
        with pytest.raises(ValueError, match=r"^learned positions end at 7, not at [89]: raise model\.max_length$"):
            position.embed(x[:, : positions.size(-1)], positions)


def test_learned_check_does_not_wait_for_the_accelerator() -> None:
    position = Learned(shape(max_length=8)).to("meta")  # where any answer that has to be waited for is an error
    assert position.embed(torch.zeros(2, 8, 32, device="meta"), torch.arange(8, device="meta")).shape == (2, 8, 32)


# Every one


@pytest.mark.parametrize("name", sorted(set(REGISTRY["position"]) - {"learned"}))
def test_half_precision_module_distinguishes_far_positions(name: str) -> None:
    exact = moved(build("position", name, shape(max_length=20_000)))
    half = build("position", name, shape(max_length=20_000))
    half.load_state_dict(exact.state_dict())
    half.bfloat16()
    with torch.no_grad():
        for parameter, rounded in zip(exact.parameters(), half.parameters(), strict=True):
            parameter.copy_(rounded)
    positions = torch.tensor([9990, 9991, 9995, 10001, 10002, 10003])
    q, k = (x.bfloat16() for x in heads())
    got, expected = scores(half, q, k, positions), scores(exact, q.double(), k.double(), positions)
    assert got.dtype == torch.bfloat16
    assert (got.double() - expected).norm() < 0.02 * expected.norm()
    x = torch.zeros(3, 6, 32)
    got, expected = half.embed(x.bfloat16(), positions), exact.embed(x.double(), positions)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("name", sorted(set(REGISTRY["position"]) - {"learned"}))
def test_far_positions_are_exact_in_float32(name: str) -> None:
    exact = moved(build("position", name, shape(max_length=128)))
    single = build("position", name, shape(max_length=128))
    single.load_state_dict(exact.state_dict())
    q, k = heads()
    positions = torch.tensor([0, 7, 3000, 12_795, 12_799, 12_800])
    got, expected = scores(single, q.float(), k.float(), positions).tril(), scores(exact, q, k, positions).tril()
    assert got.isfinite().all()
    assert (got - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("kind", [Rope, XPos, Sinusoidal, Alibi])
def test_constants_follow_the_module_back_and_forth_without_loss(kind: Any) -> None:
    made, moved = kind(shape()), kind(shape()).bfloat16().half().double()
    assert made.constants and not made.state_dict()
    for name, value in made.constants.items():
        assert torch.equal(getattr(moved, name), value)
        assert getattr(made, name).dtype == torch.float32
        assert getattr(kind(shape()).to("meta"), name).device.type == "meta"


@pytest.mark.parametrize("position", NEW, ids=str)
def test_cached_steps_equal_one_pass_over_the_sequence(position: Any, make_model: Any) -> None:
    model = make_model({"model.position": position})
    whole = model(TOKENS)
    for sizes in ([1] * 12, [5, 1, 4, 2]):
        cache = Cache()
        steps = torch.cat([model(chunk, cache=cache) for chunk in TOKENS.split(sizes, 1)], 1)
        torch.testing.assert_close(steps, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("position", BY_LENGTH, ids=str)
def test_positions_that_depend_on_length_generate_without_a_cache(position: Any, make_model: Any) -> None:
    model, written = make_model({"model.position": position}), TOKENS[:, :3]
    for _ in range(6):
        written = torch.cat([written, model(written)[:, -1:].argmax(-1)], 1)
    assert torch.equal(generate(model, TOKENS[:, :3], 6, SamplingParams(temperature=0)), written)
    cache = Cache()
    steps = torch.cat([model(column[:, None], cache=cache) for column in TOKENS.unbind(1)], 1)
    assert not torch.allclose(steps, model(TOKENS), rtol=0, atol=1e-3), "then a cache would do"


@each_new
def test_padding_on_the_left_or_right_changes_no_real_token(position: Any, make_model: Any) -> None:
    model = make_model({"model.position": position})
    whole = model(TOKENS[:, :8])
    for left in (0, 1, 4):
        tokens, padding = torch.zeros_like(TOKENS), torch.zeros_like(TOKENS, dtype=torch.bool)
        tokens[:, left : left + 8], padding[:, left : left + 8] = TOKENS[:, :8], True
        torch.testing.assert_close(model(tokens, padding=padding)[:, left : left + 8], whole, rtol=0, atol=1e-10)


@each_new
def test_backends_agree_and_are_causal(position: Any, make_model: Any) -> None:
    manual, sdpa = (
        make_model({"model.position": position, "model.mixer": {"name": "attention", "backend": backend}})
        for backend in ("manual", "sdpa")
    )
    torch.testing.assert_close(manual(TOKENS), sdpa(TOKENS), rtol=0, atol=1e-10)
    changed = TOKENS.clone()
    changed[:, 7] = (changed[:, 7] + 1) % 11
    moved = (sdpa(changed) - sdpa(TOKENS)).abs().amax((0, 2))
    assert moved[:7].max() < 1e-12 and moved[7:].min() > 1e-9


@each_new
def test_encoder_and_an_encoder_decoder_work_with_it_or_refuse(position: Any, make_model: Any) -> None:
    changes = {"model.position": position, "model.architecture": "encoder"}
    both = {"model.position": position, "model.architecture": "encoder_decoder"}
    if position in ("xpos", "fire"):
        with pytest.raises(ValueError, match="use it in a decoder"):
            make_model(changes)
        with pytest.raises(ValueError, match="use it in a decoder"):
            make_model(both)
        return
    model = make_model(changes)
    padding = torch.ones_like(TOKENS, dtype=torch.bool)
    padding[:, 8:] = False
    torch.testing.assert_close(model(TOKENS, padding=padding)[:, :8], model(TOKENS[:, :8]), rtol=0, atol=1e-10)
    backwards = (model(TOKENS.flip(1)).flip(1) - model(TOKENS)).abs().max()
    assert backwards < 1e-12 if position in ("alibi", "kerple_log", "kerple_power") else backwards > 1e-3
    assert make_model(both)(TOKENS, source=TOKENS.flip(1)).isfinite().all()


@each_new
def test_every_parameter_of_it_learns_more_than_rounding(position: Any, make_model: Any) -> None:
    model = make_model({"model.position": position})
    cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.roll(-1, 1).flatten()).backward()
    for path, parameter in model.stack.position.named_parameters():
        assert parameter.grad.abs().max() > 1e-7, path


@pytest.mark.parametrize("name", ["kerple_log", "kerple_power", "fire"])
def test_initial_parameters_come_from_the_seed_as_in_the_papers(name: str, configure: Any) -> None:
    from ablation.model.build import build_model

    config = configure({"model.position": name, "model.d_model": 256, "model.n_heads": 64}).model
    one, again, other = (dict(build_model(config, 11, 12, s).stack.position.named_parameters()) for s in (0, 0, 1))
    ranges = {"p": (0, 2), "a": (0, 1), "weight": (-1, 1), "shift": (-1, 1), "out": (-(32**-0.5), 32**-0.5)}
    for path, parameter in one.items():
        assert torch.equal(parameter, again[path])
        if path in ranges:
            low, high = ranges[path]
            assert not torch.equal(parameter, other[path])
            assert low <= parameter.min() < low + 0.2 * (high - low)
            assert high - 0.2 * (high - low) < parameter.max() <= high


def test_initialization_leaves_positions_with_their_own_alone() -> None:
    for name in ("xpos", "kerple_log", "kerple_power", "fire"):
        position = build("position", name, shape())
        assert not any(isinstance(module, nn.Linear | nn.Embedding) for module in position.modules())
