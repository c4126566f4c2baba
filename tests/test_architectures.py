"""Encoder and encoder-decoder, the systems in conf/models, and generation."""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ablation.config import read_base
from ablation.measure.counts import count, count_work
from ablation.models.generate import Choice, beam_search, generate
from ablation.registry import REGISTRY

MODELS = sorted((Path(__file__).parents[1] / "conf" / "models").glob("*.yaml"))
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
RIGHT = torch.arange(12) < torch.tensor([12, 9, 5])[:, None]


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_every_system_is_built_for_its_task_and_counted(file: Path) -> None:
    config = read_base(file).build()
    task = config.data.build()
    assert task.kind in config.model.architecture.component.serves  # type: ignore[attr-defined]
    counts = count(config.model, task.vocabulary, task.longest, task.n_classes)
    assert 0 < counts.embedding_parameters < counts.parameters
    assert count_work(config.model, task).flops_per_token > counts.parameters / 2


@pytest.mark.parametrize("position", REGISTRY["position"])
def test_padding_behind_a_text_changes_nothing_for_an_encoder(position: str, make_model) -> None:
    try:
        model = make_model({"model.architecture": "encoder", "model.position": position})
    except ValueError as refusal:
        assert position in str(refusal)
        return
    whole = model(TOKENS, padding=RIGHT)
    for text, padding, scores in zip(TOKENS, RIGHT, whole, strict=True):
        torch.testing.assert_close(scores[padding], model(text[padding][None])[0], atol=1e-10, rtol=0)


def test_without_positions_an_encoder_cannot_tell_an_order_and_a_decoder_can(make_model) -> None:
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    encoder = make_model({"model.architecture": "encoder", "model.position": "none"})
    torch.testing.assert_close(encoder(TOKENS[:, order]), encoder(TOKENS)[:, order], atol=1e-10, rtol=0)
    decoder = make_model({"model.position": "none"})
    assert (decoder(TOKENS[:, order]) - decoder(TOKENS)[:, order]).abs().max() > 1e-3


def test_every_pooling_reads_only_tokens(make_model, configure) -> None:
    from ablation.models import build_model

    for architecture, pooling in product(("encoder", "decoder"), REGISTRY["pooling"]):
        changes = {"model.architecture": {"name": architecture, "pooling": {"name": pooling}}}
        model = build_model(configure(changes).model, 11, 12, 0, n_classes=5).double().eval()
        scores = model(TOKENS, padding=RIGHT)
        assert scores.shape == (3, 5)
        for text, padding, score in zip(TOKENS, RIGHT, scores, strict=True):
            torch.testing.assert_close(score, model(text[padding][None])[0], atol=1e-10, rtol=0)


def test_a_target_token_sees_the_whole_source_and_no_later_target(make_model) -> None:
    model = make_model({"model.architecture": "encoder_decoder"})
    before = model(TOKENS, source=TOKENS)
    source, target = TOKENS.clone(), TOKENS.clone()
    source[:, -1] = (source[:, -1] + 1) % 11
    target[:, 6] = (target[:, 6] + 1) % 11
    assert (model(TOKENS, source=source) - before)[:, 0].abs().max() > 1e-6
    moved = (model(target, source=TOKENS) - before).abs().amax((0, 2))
    assert moved[:6].max() < 1e-10 < moved[6]


def test_padding_of_a_source_changes_nothing(make_model) -> None:
    model = make_model({"model.architecture": "encoder_decoder"})
    whole = model(TOKENS, source=TOKENS, source_padding=RIGHT)
    for index, padding in enumerate(RIGHT):
        alone = model(TOKENS[index : index + 1], source=TOKENS[index][padding][None])
        torch.testing.assert_close(whole[index], alone[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("mixer", ["attention", "linear_attention"])
def test_greedy_generation_with_a_cache_is_that_without(mixer: str, make_model, monkeypatch) -> None:
    model = make_model({"model.mixer": mixer, "model.position": "learned", "model.max_length": 24})
    with_cache = generate(model, TOKENS[:, :4], 8, Choice(temperature=0))
    monkeypatch.setattr("ablation.models.generate.cacheable", lambda model: False)
    assert torch.equal(with_cache, generate(model, TOKENS[:, :4], 8, Choice(temperature=0)))
    assert torch.equal(with_cache[:, :4], TOKENS[:, :4]) and with_cache.shape == (3, 12)


def test_a_text_that_has_ended_is_filled_up_with_its_end(make_model) -> None:
    model = make_model()
    texts = generate(model, TOKENS[:, :4], 30, Choice(), torch.Generator().manual_seed(0), end=3)
    for text in texts[:, 4:].tolist():
        if 3 in text:
            assert set(text[text.index(3) :]) == {3}


def test_only_what_top_k_and_top_p_leave_is_drawn() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(2000, 1)
    random = torch.Generator().manual_seed(0)
    assert set(Choice(top_k=2)(scores, random).tolist()) == {0, 1}
    assert set(Choice(top_p=0.75)(scores, random).tolist()) == {0, 1}
    assert set(Choice(top_p=0.85)(scores, random).tolist()) == {0, 1, 2}
    assert set(Choice(temperature=0)(scores, random).tolist()) == {0}
    share = (Choice(temperature=2.0)(scores, random) == 0).double().mean()
    assert abs(share - 0.5**0.5 / sum(p**0.5 for p in (0.5, 0.3, 0.15, 0.05))) < 0.05


class Markov(nn.Module):
    """A language whose next token depends on the last alone: small enough to search all of it."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = table

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]


def test_beams_as_wide_as_the_language_find_its_best_text() -> None:
    table = torch.randn(4, 4, generator=torch.Generator().manual_seed(5)).double()
    found = beam_search(Markov(table), torch.tensor([[0]]), 4, 256, end=3, alpha=0.0)[0].tolist()
    shares = table.log_softmax(-1)
    texts = {}
    for length in (1, 2, 3, 4):
        for text in product(range(4), repeat=length):
            ended = text[-1] == 3
            if 3 in text[:-1] or (not ended and length < 4):
                continue
            steps = zip((0, *text), text, strict=False)
            texts[text] = float(sum(shares[one, other] for one, other in steps))
    assert tuple(found[1:]) == max(texts, key=texts.__getitem__)
