"""The mathematics of each position encoding, against the papers' formulas written out anew."""

import cmath
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ablation.components.base import BuildContext
from ablation.components.position.absolute import Learned, Sinusoidal
from ablation.components.position.base import Position
from ablation.components.position.bias import T5, Alibi, alibi_slopes
from ablation.components.position.rotary import Rope
from ablation.registry import REGISTRY

POSITIONS = st.lists(st.integers(0, 2000), min_size=6, max_size=6).map(torch.tensor)
TOKENS = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))


def shape(d_model: int = 16, n_heads: int = 2, max_length: int = 32) -> BuildContext:
    return BuildContext(d_model=d_model, n_layers=2, n_heads=n_heads, n_kv_heads=n_heads, max_length=max_length)


def heads(seed: int) -> Tensor:
    """(3, 2, 6, 8): texts, heads, tokens, features."""
    return torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Q, K = heads(0), heads(1)


def scores(position: Position, positions: Tensor) -> Tensor:
    q, k = position.rotate(Q, K, positions, positions)
    bias = position.bias(q, k, positions, positions)
    return q @ k.mT + (0 if bias is None else bias)


@pytest.fixture(scope="module")
def make_position() -> Any:
    """``make_position("rope")``: the encoding from bare defaults in float64, with random tables."""

    def make(name: str) -> Position:
        position: Position = REGISTRY["position"][name](name=name).build(shape()).double()
        for parameter in position.parameters():
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(2))
        return position

    return make


# fire divides the distance by the query's position, by design: oracles/test_position.py
@pytest.mark.parametrize("name", [name for name in REGISTRY["position"] if name != "fire"])
@given(positions=POSITIONS, shift=st.integers(0, 2000))
def test_scores_depend_on_distances_only(name: str, make_position: Any, positions: Tensor, shift: int) -> None:
    position = make_position(name)
    torch.testing.assert_close(scores(position, positions + shift), scores(position, positions), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", REGISTRY["position"])
@given(positions=POSITIONS)
def test_positions_may_differ_between_sequences_of_a_batch(name: str, make_position: Any, positions: Tensor) -> None:
    position = make_position(name)
    batch = torch.stack([positions, positions + 3, positions.flip(0)])
    together = scores(position, batch)
    for text in range(3):
        torch.testing.assert_close(together[text], scores(position, batch[text])[text], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", REGISTRY["position"])
def test_relative_positions_are_shift_invariant_unlike_absolute(name: str, make_model: Any) -> None:
    model = make_model({"model.position": name, "model.max_length": 64})
    positions = torch.arange(12)
    moved = (model(TOKENS, positions=positions + 37) - model(TOKENS, positions=positions)).abs().max()
    absolute = REGISTRY["position"][name].component.embed is not Position.embed
    assert moved > 1e-3 if absolute else moved < 1e-9


@pytest.mark.parametrize("name", REGISTRY["position"])
def test_order_is_lost_only_without_positions(name: str, make_model: Any) -> None:
    model = make_model({"model.position": name, "model.n_layers": 1})
    reordered = torch.cat([TOKENS[:, :-1].flip(1), TOKENS[:, -1:]], 1)
    moved = (model(reordered) - model(TOKENS))[:, -1].abs().max()
    assert moved < 1e-12 if name == "none" else moved > 1e-3


def test_base_class_leaves_everything_as_it_is() -> None:
    position, x, positions = Position(shape()), torch.randn(2, 6, 16), torch.arange(6)
    assert position.embed(x, positions) is x
    assert position.rotate(Q, K, positions, positions) == (Q, K)
    assert position.bias(Q, K, positions, positions) is None


def test_learned_adds_the_row_of_each_position() -> None:
    position, x = Learned(shape()), torch.randn(2, 3, 16)
    positions = torch.tensor([[0, 1, 2], [7, 31, 7]])
    for text in range(2):
        for token in range(3):
            expected = x[text, token] + position.table.weight[positions[text, token]]
            assert torch.equal(position.embed(x, positions)[text, token], expected)


def test_learned_refuses_positions_beyond_its_table() -> None:
    with pytest.raises(ValueError, match=r"end at 31, not at 32: raise model\.max_length"):
        Learned(shape(max_length=32)).embed(torch.zeros(1, 33, 16), torch.arange(33))


@pytest.mark.parametrize("base", [10_000.0, 50.0])
@pytest.mark.parametrize("d_model", [16, 10, 7])
def test_sinusoidal_is_the_formula_of_the_paper(d_model: int, base: float) -> None:
    position = Sinusoidal(shape(d_model, n_heads=1), base=base).double()
    waves = position.embed(torch.zeros(1, 40, d_model, dtype=torch.float64), torch.arange(40))[0]
    for place in range(40):
        for feature in range(d_model):
            angle = place / base ** (2 * (feature // 2) / d_model)
            expected = math.cos(angle) if feature % 2 else math.sin(angle)
            assert waves[place, feature].item() == pytest.approx(expected, abs=1e-5)


def test_sinusoidal_scales_embeddings_by_the_root_of_the_width() -> None:
    x, positions = torch.randn(1, 5, 16), torch.arange(5)
    for hyper, scale in (({}, 4.0), ({"embedding_scale": 1.0}, 1.0), ({"embedding_scale": 2.5}, 2.5)):
        position = Sinusoidal(shape(), **hyper)
        waves = position.embed(torch.zeros_like(x), positions)
        torch.testing.assert_close(position.embed(x, positions), scale * x + waves)


@pytest.mark.parametrize("theta", [10_000.0, 100.0])
def test_rope_rotates_pairs_as_complex_numbers(theta: float) -> None:
    position, positions = Rope(shape(), theta=theta).double(), torch.tensor([0, 1, 5, 11, 30, 31])
    turned, _ = position.rotate(Q, K, positions, positions)
    for token, place in enumerate(positions.tolist()):
        for pair in range(4):
            phase = cmath.exp(1j * place * theta ** (-2 * pair / 8))
            for text in range(3):
                before = complex(Q[text, 0, token, pair], Q[text, 0, token, pair + 4])
                after = complex(turned[text, 0, token, pair], turned[text, 0, token, pair + 4])
                assert after == pytest.approx(before * phase, abs=1e-5)


def test_rope_turns_queries_and_keys_each_by_their_own_positions() -> None:
    rope, near, far = Rope(shape()).double(), torch.arange(6), torch.arange(20, 26)
    q, k = rope.rotate(Q, K, near, far)
    assert torch.equal(q, rope.rotate(Q, Q, near, near)[0]) and torch.equal(k, rope.rotate(K, K, far, far)[0])


@given(positions=POSITIONS)
def test_rope_preserves_norms(positions: Tensor) -> None:
    q, k = Rope(shape()).double().rotate(Q, K, positions, positions)
    torch.testing.assert_close(q.norm(dim=-1), Q.norm(dim=-1))
    torch.testing.assert_close(k.norm(dim=-1), K.norm(dim=-1))


def test_rope_refuses_heads_of_an_odd_width() -> None:
    with pytest.raises(ValueError, match="d_head 7 is odd"):
        Rope(shape(d_model=14, n_heads=2))


def slopes_of_the_authors(n_heads: int) -> list[float]:
    """The procedure of the ALiBi repository (fairseq/models/transformer.py, get_slopes)."""

    def power_of_two(n: int) -> list[float]:
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**index for index in range(n)]

    if math.log2(n_heads).is_integer():
        return power_of_two(n_heads)
    closest = 2 ** math.floor(math.log2(n_heads))
    return power_of_two(closest) + slopes_of_the_authors(2 * closest)[0::2][: n_heads - closest]


@pytest.mark.parametrize("n_heads", range(1, 65))
def test_alibi_slopes_are_those_of_the_authors(n_heads: int) -> None:
    slopes = alibi_slopes(n_heads)
    assert slopes.tolist() == pytest.approx(slopes_of_the_authors(n_heads), rel=1e-6)
    assert len(slopes) == n_heads and slopes.min() > 0 and slopes.max() <= 1


def test_alibi_slopes_of_eight_heads_equal_the_papers() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-head for head in range(1, 9)]


def test_alibi_takes_slope_times_distance_from_the_scores() -> None:
    bias = Alibi(shape()).bias(Q, K, torch.arange(3, 9), torch.tensor([8, 3, 0]))
    slopes = alibi_slopes(2)
    for head in range(2):
        for query in range(6):
            for key, place in enumerate((8, 3, 0)):
                assert bias[0, head, query, key] == -slopes[head] * abs(3 + query - place)


def bucket_of_mesh_tensorflow(relative_position: Tensor, n_buckets: int, max_distance: int) -> Tensor:
    """mesh_tensorflow's _relative_position_bucket with bidirectional=False; relative_position is key - query."""
    n = torch.maximum(-relative_position, torch.zeros_like(relative_position))
    max_exact = n_buckets // 2
    is_small = n < max_exact
    large = max_exact + (
        torch.log(n.float() / max_exact) / math.log(max_distance / max_exact) * (n_buckets - max_exact)
    ).to(torch.int64)
    large = torch.minimum(large, torch.full_like(large, n_buckets - 1))
    return torch.where(is_small, n, large)


SIZES = [(32, 128), (32, 20), (8, 64), (64, 512), (4, 600)]


@pytest.mark.parametrize(("buckets", "max_distance"), SIZES)
def test_t5_buckets_are_those_of_mesh_tensorflow(buckets: int, max_distance: int) -> None:
    distances = torch.arange(-5, 601)
    position = T5(shape(), buckets=buckets, max_distance=max_distance)
    expected = bucket_of_mesh_tensorflow(-distances, buckets, max_distance)
    assert torch.equal(position.bucket(distances), expected)


@pytest.mark.parametrize(("buckets", "max_distance"), SIZES)
def test_t5_buckets_are_exact_when_near_and_logarithmic_when_far(buckets: int, max_distance: int) -> None:
    """In whole numbers: bucket ``exact + j`` begins where (distance / exact)^exact reaches (max_distance / exact)^j."""
    exact = buckets // 2
    got = T5(shape(), buckets=buckets, max_distance=max_distance).bucket(torch.arange(601)).tolist()
    assert got == sorted(got)
    assert got[: exact + 1] == list(range(exact + 1))
    assert all(bucket == buckets - 1 for bucket in got[max_distance:])
    for distance in range(exact, min(max_distance, 601)):
        reached = [j for j in range(exact) if distance**exact >= max_distance**j * exact ** (exact - j)]
        assert got[distance] == exact + max(reached)


def test_t5_reads_the_bias_of_the_bucket_from_its_table() -> None:
    position = T5(shape(), buckets=8, max_distance=16)
    nn.init.normal_(position.table)
    bias = position.bias(Q, K, torch.arange(20, 26), torch.arange(26))
    assert bias.shape == (1, 2, 6, 26)
    for query in range(6):
        for key in range(26):
            bucket = int(bucket_of_mesh_tensorflow(torch.tensor(key - 20 - query), 8, 16))
            assert torch.equal(bias[0, :, query, key], position.table[bucket])


def test_t5_refuses_buckets_that_no_distance_would_reach() -> None:
    with pytest.raises(ValueError, match="max_distance 16 must lie beyond the 16 distances"):
        T5(shape(), buckets=32, max_distance=16)
