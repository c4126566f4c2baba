"""Encoder and encoder-decoder, the systems in conf/models, and generation."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from support import CONF
from support.components import settings_for
from torch import Tensor, nn

from ablation.components.context import Cache
from ablation.components.mixer.base import RecurrentMixer
from ablation.config.layered import read_base
from ablation.model.counts import count_inference_cost, count_parameters
from ablation.model.generate import SamplingParams, beam_search, generate, max_positions
from ablation.registry import REGISTRY

MODELS = sorted((CONF / "models").glob("*.yaml"))
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
RIGHT = torch.arange(12) < torch.tensor([12, 9, 5])[:, None]
LEFT = RIGHT.flip(1)

SEQUENCE = [name for name, part in REGISTRY["architecture"].items() if "seq2seq" in part.component.tasks]
CAUSAL_PREFIX = {"name": "prefix_decoder", "prefix": "causal"}
WRITERS: dict[str, dict[str, Any]] = {
    **{name: {"model.architecture": name, "model.position": "learned"} for name in SEQUENCE},
    "causal prefix": {"model.architecture": CAUSAL_PREFIX, "model.position": "learned"},
    "prefix in a state": {"model.architecture": CAUSAL_PREFIX, "model.mixer": "lstm", "model.position": "none"},
}
"""Models that make one text of another."""


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_every_system_is_built_for_its_task_and_counted(file: Path) -> None:
    config = read_base(file).build()
    task = config.task.build()
    assert task.kind in config.model.architecture.component.tasks  # type: ignore[attr-defined]
    counts = count_parameters(config.model, task.vocabulary, task.longest, task.n_classes)
    assert 0 < counts.embedding_parameters < counts.parameters
    assert count_inference_cost(config.model, task).flops_per_token > counts.parameters / 2


@pytest.mark.parametrize("position", REGISTRY["position"])
def test_padding_after_a_sequence_does_not_change_an_encoder(position: str, make_model) -> None:
    try:
        model = make_model({"model.architecture": "encoder", "model.position": position})
    except ValueError as refusal:
        assert position in str(refusal)
        return
    whole = model(TOKENS, padding=RIGHT)
    for text, padding, scores in zip(TOKENS, RIGHT, whole, strict=True):
        torch.testing.assert_close(scores[padding], model(text[padding][None])[0], atol=1e-10, rtol=0)


def test_encoder_without_positions_ignores_order_unlike_a_decoder(make_model) -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    encoder = make_model({"model.architecture": "encoder", "model.position": "none"})
    torch.testing.assert_close(encoder(TOKENS[:, order]), encoder(TOKENS)[:, order], atol=1e-10, rtol=0)
    decoder = make_model({"model.position": "none"})
    assert (decoder(TOKENS[:, order]) - decoder(TOKENS)[:, order]).abs().max() > 1e-3


def test_every_pooling_reads_only_tokens(make_model, configure) -> None:
    from ablation.model.build import build_model

    for architecture, pooling in product(("encoder", "decoder"), REGISTRY["pooling"]):
        changes = {"model.architecture": {"name": architecture, "pooling": {"name": pooling}}}
        model = build_model(configure(changes).model, 11, 12, 0, n_classes=5).double().eval()
        scores = model(TOKENS, padding=RIGHT)
        assert scores.shape == (3, 5)
        for text, padding, score in zip(TOKENS, RIGHT, scores, strict=True):
            torch.testing.assert_close(score, model(text[padding][None])[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("writer", WRITERS)
def test_target_token_sees_the_whole_source_and_no_later_target(writer: str, make_model) -> None:
    model = make_model(WRITERS[writer])
    before = model(TOKENS, source=TOKENS)
    for place in (0, 11):
        source = TOKENS.clone()
        source[:, place] = (source[:, place] + 1) % 11
        assert (model(TOKENS, source=source) - before).abs().amax(-1).min() > 1e-7
    target = TOKENS.clone()
    target[:, 6] = (target[:, 6] + 1) % 11
    moved = (model(target, source=TOKENS) - before).abs().amax((0, 2))
    assert moved[:6].max() < 1e-10 < moved[6]


PLACED = [(writer, position) for writer in WRITERS for position in ("learned", "rope", "t5")]


@pytest.mark.parametrize(
    ("writer", "position"), [pair for pair in PLACED if pair[0] != "prefix in a state" or pair[1] == "learned"]
)
def test_padding_of_source_and_target_does_not_change_outputs(writer: str, position: str, make_model) -> None:
    model = make_model({**WRITERS[writer], "model.position": position})
    for source_padding, padding in product((RIGHT, LEFT, None), (RIGHT.roll(1, 0), LEFT.roll(1, 0), None)):
        whole = model(TOKENS.flip(0), source=TOKENS, source_padding=source_padding, padding=padding)
        for index, (source, target) in enumerate(zip(TOKENS, TOKENS.flip(0), strict=True)):
            here = slice(None) if source_padding is None else source_padding[index]
            there = slice(None) if padding is None else padding[index]
            alone = model(target[there][None], source=source[here][None])
            torch.testing.assert_close(whole[index, there], alone[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("writer", WRITERS)
def test_target_that_is_read_over_a_cache_is_that_read_at_once(writer: str, make_model) -> None:
    model = make_model(WRITERS[writer])
    for padding in (None, RIGHT, LEFT):
        whole, memory = model(TOKENS, source=TOKENS, source_padding=padding), model.encode(TOKENS, padding)
        for sizes in ([1] * 12, [5, 1, 4, 2]):
            cache = Cache()
            steps = [model(part, memory=memory, source_padding=padding, cache=cache) for part in TOKENS.split(sizes, 1)]
            torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("position", ["learned", "rope", "t5", "none"])
def test_causal_prefix_model_equals_a_decoder(position: str, make_model) -> None:
    """The same weights: both are drawn by path, and so is the noise."""
    changes = {"model.position": position}
    model = make_model({**changes, "model.architecture": CAUSAL_PREFIX}, length=12)
    decoder = make_model(changes, length=24)
    assert model.state_dict().keys() == decoder.state_dict().keys()
    text = torch.cat([TOKENS, TOKENS.flip(1)], 1)
    assert torch.equal(model(TOKENS.flip(1), source=TOKENS), decoder(text)[:, 12:])
    both = torch.cat([RIGHT, LEFT], 1)
    found = model(TOKENS.flip(1), source=TOKENS, source_padding=RIGHT, padding=LEFT)
    torch.testing.assert_close(found, decoder(text, padding=both)[:, 12:], atol=1e-10, rtol=0)


def states(model: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """What the stack makes of the source and the target (B, S + L, M)."""
    seen: list[Tensor] = []
    handle = model.stack.register_forward_hook(lambda stack, inputs, x: seen.append(x))
    model(target, source=source)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("prefix", ["bidirectional", "causal"])
def test_prefix_tokens_attend_both_ways_or_to_the_past(prefix: str, make_model) -> None:
    model = make_model({"model.architecture": {"name": "prefix_decoder", "prefix": prefix}, "model.position": "t5"})
    assert model.stack.position.causal == (prefix == "causal"), "t5 has buckets for what lies ahead"
    before = states(model, TOKENS, TOKENS)
    for place in range(24):
        text = torch.cat([TOKENS, TOKENS], 1)
        text[:, place] = (text[:, place] + 1) % 11
        moved = (states(model, text[:, :12], text[:, 12:]) - before).abs().amax((0, 2)) > 1e-10
        first = 0 if prefix == "bidirectional" and place < 12 else place
        assert moved.tolist() == [there >= first for there in range(24)]


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
def test_prefix_decoder_equals_llama_with_an_explicit_mask(backend: str) -> None:
    pytest.importorskip("transformers", reason="transformers, a test dependency, is not installed")
    from support.parity import VOCABULARY, checkpoint_of, theirs, validated

    from ablation.model.build import build_model

    llama, said = theirs("llama")
    config = checkpoint_of("llama").model(said)
    config |= {"architecture": "prefix_decoder", "mixer": {**config["mixer"], "backend": backend}}
    model = build_model(validated(config | {"max_length": 24}), VOCABULARY, 12, seed=1).double().eval()
    model.load_state_dict(checkpoint_of("llama").weights(said, llama.state_dict()), strict=True)
    source, target = torch.randint(1, VOCABULARY, (2, 3, 5), generator=torch.Generator().manual_seed(0))
    o, x = 0.0, torch.finfo(torch.float64).min
    mask = torch.tensor(
        [
            [o, o, o, x, x, x],
            [o, o, o, x, x, x],
            [o, o, o, x, x, x],
            [o, o, o, o, x, x],
            [o, o, o, o, o, x],
            [o, o, o, o, o, o],
        ],
        dtype=torch.float64,
    )
    text = torch.cat([source[:, :3], target[:, :3]], 1)
    wanted = llama(input_ids=text, attention_mask=mask.expand(3, 1, 6, 6)).logits
    torch.testing.assert_close(model(target[:, :3], source=source[:, :3]), wanted[:, 3:], atol=1e-5, rtol=0)
    plain = llama(input_ids=text).logits
    assert (plain - wanted)[:, 3:].abs().max() > 1e-3, "else the mask says nothing"


@pytest.mark.parametrize("mixer", [name for name, mixer in REGISTRY["mixer"].items() if not mixer.component.left_out])
def test_mixer_supports_a_bidirectional_prefix_or_refuses_it(mixer: str, make_model) -> None:
    for prefix in ("bidirectional", "causal"):
        changes = {**settings_for("mixer", mixer), "model.architecture": {"name": "prefix_decoder", "prefix": prefix}}
        try:
            model = make_model(changes)
        except ValueError as refusal:
            assert prefix == "bidirectional" and issubclass(REGISTRY["mixer"][mixer].component, RecurrentMixer)
            assert f"mixer {mixer} reads" in str(refusal) and "architecture.prefix causal" in str(refusal)
            assert "can be: attention, differential" in str(refusal) and mixer not in str(refusal).partition("be:")[2]
            continue
        last = TOKENS.clone()
        last[:, -1] = (last[:, -1] + 1) % 11
        moved = (states(model, last, TOKENS) - states(model, TOKENS, TOKENS)).abs().amax((0, 2)) > 1e-12
        assert moved[:11].all() == moved[:11].any() == (prefix == "bidirectional") and moved[11:].any()
        behind = (states(model, TOKENS, last) - states(model, TOKENS, TOKENS)).abs().amax((0, 2)) > 1e-12
        assert not behind[:23].any() and behind[23]


@pytest.mark.parametrize("writer", WRITERS)
def test_target_window_slides_past_max_length_and_source_stays(writer: str, make_model) -> None:
    model = make_model(WRITERS[writer])
    expected = TOKENS[:, :4]
    for _ in range(14):
        seen = expected if max_positions(model) is None else expected[:, -12:]
        expected = torch.cat([expected, model(seen, source=TOKENS)[:, -1:].argmax(-1)], 1)
    assert max_positions(model) == (None if writer == "prefix in a state" else 12)
    written = generate(model, TOKENS[:, :4], 14, SamplingParams(temperature=0), memory=model.encode(TOKENS))
    assert torch.equal(written, expected)


@pytest.mark.parametrize("mixer", ["attention", "linear_attention"])
def test_greedy_generation_with_a_cache_is_that_without(mixer: str, make_model, monkeypatch) -> None:
    model = make_model({"model.mixer": mixer, "model.position": "learned", "model.max_length": 24})
    with_cache = generate(model, TOKENS[:, :4], 8, SamplingParams(temperature=0))
    monkeypatch.setattr("ablation.model.generate.cacheable", lambda model: False)
    assert torch.equal(with_cache, generate(model, TOKENS[:, :4], 8, SamplingParams(temperature=0)))
    assert torch.equal(with_cache[:, :4], TOKENS[:, :4]) and with_cache.shape == (3, 12)


BEAMS = {
    "slides": {"model.position": "learned"},
    "window": {"model.mixer": {"name": "attention", "window": 3}, "model.position": "rope"},
    "turns keys anew": {"model.position": {"name": "rope", "scaling": "dynamic_ntk"}},
    **{mixer: settings_for("mixer", mixer) for mixer in REGISTRY["mixer"]},
    **WRITERS,
}


@pytest.mark.parametrize("name", BEAMS)
def test_beams_over_a_cache_are_those_without(name: str, make_model, monkeypatch) -> None:
    passed: list[int] = []
    found = []
    for seed in range(3):
        model = make_model({"model.initialization.std": 1.0, **BEAMS[name]}, seed=seed)
        model.register_forward_pre_hook(
            lambda model, args, inputs: passed.append(inputs["tokens"].numel()), with_kwargs=True
        )
        inputs = {"memory": model.encode(TOKENS[:1])} if name in WRITERS else {}
        for end in (None, 3):
            with monkeypatch.context() as patch:
                with_cache = beam_search(model, TOKENS[1:2, :4], 12, 5, end, **inputs)
                n_with = sum(passed)
                passed.clear()
                patch.setattr("ablation.model.generate.cacheable", lambda model: False)
                assert torch.equal(with_cache, beam_search(model, TOKENS[1:2, :4], 12, 5, end, **inputs))
                found.append((n_with, sum(passed)))
                passed.clear()
    spared = [one < other for one, other in found]
    assert all(spared) if name != "turns keys anew" else not any(spared)


@pytest.mark.parametrize("mixer", ["attention", "lstm", "linear_attention", "hyena"])
def test_cache_can_be_reordered_to_the_chosen_sequences(mixer: str, make_model) -> None:
    model, cache, chosen = make_model(settings_for("mixer", mixer), length=24), Cache(), torch.tensor([2, 0, 2, 1])
    padding = RIGHT.flip(1)  # so that the texts stand in different places
    model(TOKENS, padding=padding, cache=cache)
    cache.select(chosen)
    new = TOKENS[[0, 1, 2, 0], :3]
    both, present = torch.cat([TOKENS[chosen], new], 1), torch.cat([padding[chosen], torch.ones_like(new).bool()], 1)
    expected = model(both, padding=present)[:, -3:]
    torch.testing.assert_close(model(new, cache=cache), expected, atol=1e-10, rtol=0)


def test_finished_sequence_is_padded_with_its_end_token(make_model) -> None:
    model = make_model()
    texts = generate(model, TOKENS[:, :4], 30, SamplingParams(), torch.Generator().manual_seed(0), end=3)
    for text in texts[:, 4:].tolist():
        if 3 in text:
            assert set(text[text.index(3) :]) == {3}


def test_sampling_is_limited_to_top_k_and_top_p() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(2000, 1)
    random = torch.Generator().manual_seed(0)
    assert set(SamplingParams(top_k=2)(scores, random).tolist()) == {0, 1}
    assert set(SamplingParams(top_p=0.75)(scores, random).tolist()) == {0, 1}
    assert set(SamplingParams(top_p=0.85)(scores, random).tolist()) == {0, 1, 2}
    assert set(SamplingParams(temperature=0)(scores, random).tolist()) == {0}
    share = (SamplingParams(temperature=2.0)(scores, random) == 0).double().mean()
    assert abs(share - 0.5**0.5 / sum(p**0.5 for p in (0.5, 0.3, 0.15, 0.05))) < 0.05


class Markov(nn.Module):
    """A language whose next token depends on the last alone: small enough to search all of it."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = table

    def forward(self, tokens: Tensor, *, cache: Cache | None = None) -> Tensor:
        return self.table[tokens]


def scored_texts(table: Tensor, length: int, end: int | None, alpha: float) -> dict[tuple[int, ...], float]:
    """All texts after token 0 that end, or without ``end`` all of that length, with their scores."""
    shares, texts = table.log_softmax(-1), {}
    for n in range(1, length + 1):
        for text in product(range(len(table)), repeat=n):
            if end in text[:-1] or (text[-1] != end if end is not None else n < length):
                continue
            steps = zip((0, *text), text, strict=False)
            texts[text] = float(sum(shares[one, other] for one, other in steps)) / ((5 + n) / 6) ** alpha
    return texts


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("end", [3, None])
def test_beams_as_wide_as_the_vocabulary_find_the_best_sequence(end: int | None, alpha: float) -> None:
    """Of those that end, however improbable: unfinished ones do not compete with them."""
    for seed in range(6):
        table = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)).double()
        table[:, 3] -= 2  # an end is improbable
        found = beam_search(Markov(table), torch.tensor([[0]]), 4, 256, end=end, alpha=alpha)[0].tolist()
        texts = scored_texts(table, 4, end, alpha)
        assert tuple(found[1:]) == max(texts, key=texts.__getitem__)


def test_text_without_an_end_is_returned_only_if_none_has_ended() -> None:
    """The end is the third best of three tokens, or impossible."""
    table = torch.tensor([0.5, 0.4, 0.1]).log().expand(3, -1)
    never = torch.tensor([0.5, 0.5, 0.0]).log().expand(3, -1)
    start = torch.tensor([[0]])
    assert beam_search(Markov(table), start, 3, 3, end=2).tolist() == [[0, 2]]
    assert beam_search(Markov(table), start, 3, 2, end=2).tolist() == [[0, 0, 0, 0]], "it was never among the best two"
    assert beam_search(Markov(never), start, 3, 3, end=2).tolist() == [[0, 0, 0, 0]]
    assert beam_search(Markov(table), start, 0, 3, end=2).tolist() == [[0]]


@pytest.mark.parametrize("end", range(5))
def test_one_beam_is_greedy_decoding_with_an_end_token_too(end: int, make_model) -> None:
    """Also in half precision, in which many tokens score the same."""
    ended = 0
    for seed in range(12):
        random = torch.Generator().manual_seed(seed)
        plain = Markov(torch.randn(6, 6, generator=random))
        tied = Markov(torch.randint(3, (6, 6), generator=random).to(torch.bfloat16))
        for model in (plain, tied):
            start = torch.tensor([[seed % 6]])
            greedy = generate(model, start, 40, SamplingParams(temperature=0), end=end)
            assert torch.equal(beam_search(model, start, 40, 1, end=end), greedy)
            ended += end in greedy[0, 1:]
    assert 0 < ended < 24


def test_sums_over_many_tokens_do_not_turn_one_beam() -> None:
    """In float32, sums of 60 log probabilities that differ by a billionth would be the same."""
    model, start = Markov(torch.tensor([[0.0, 1e-9]] * 2)), torch.tensor([[0]])
    assert beam_search(model, start, 60, 1)[0, 1:].tolist() == [1] * 60


def test_beam_search_refuses_what_it_cannot_begin() -> None:
    model = Markov(torch.zeros(4, 4))
    for start, n_beams in ((torch.zeros(2, 3).long(), 2), (torch.zeros(1, 3).long(), 0)):
        with pytest.raises(ValueError, match="needs one sequence and one beam or more"):
            beam_search(model, start, 3, n_beams)
    for write in (
        lambda tokens, n: beam_search(model, tokens, n, 2),
        lambda tokens, n: generate(model, tokens, n, SamplingParams(temperature=0)),
    ):
        with pytest.raises(ValueError, match="there is no token to continue from"):
            write(torch.zeros(1, 0).long(), 3)
        with pytest.raises(ValueError, match="n_new must be 0 or above, not -1"):
            write(torch.zeros(1, 2).long(), -1)
