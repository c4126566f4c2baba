"""Scores are 1 for a head that does just that, and those of even attention for one that does nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import Tensor

from ablation.inspect.evaluation import Validation
from ablation.inspect.maps import head_scores, repeated_tokens
from ablation.inspect.scores import N_RANGES, HeadScores, add_repeated_scores, add_scores
from ablation.inspect.sites import sublayers
from ablation.tasks.base import IGNORED
from ablation.tasks.generated.copying import Copy, Reverse
from ablation.tasks.generated.memory import AssociativeRecall, Dyck, Induction
from ablation.tasks.generated.scan import ACTIONS, TURNS, Scan, alignment, all_commands

LENGTH = 8


def scores_of(weights: Tensor, padding: Tensor | None = None) -> HeadScores:
    """Of weights (B, H, L, L) in a decoder."""
    n_batch, _, length, _ = weights.shape
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    padding = torch.ones(n_batch, length, dtype=torch.bool) if padding is None else padding
    found = HeadScores()
    add_scores(found, weights, mask & padding[:, None, None, :], padding, {}, same_text=True)
    return found


def looking_back(distance: int, length: int = LENGTH) -> Tensor:
    """Weights (1, 1, L, L) on the key so far before the query, on the first where there is none."""
    keys = (torch.arange(length) - distance).clamp(min=0)
    return torch.eye(length)[keys][None, None]


@pytest.mark.parametrize(("distance", "name"), [(0, "same"), (1, "previous")])
def test_head_that_looks_so_far_back_has_the_score_one(distance: int, name: str) -> None:
    means = scores_of(looking_back(distance)).means(0)
    assert means[name] == pytest.approx(1)
    assert means["entropy"] == pytest.approx(0)
    assert means["distance"] == pytest.approx(distance)


def test_head_that_looks_at_the_first_token_is_a_sink() -> None:
    weights = torch.zeros(1, 1, LENGTH, LENGTH)
    weights[..., 0] = 1
    assert scores_of(weights).means(0)["first"] == pytest.approx(1)
    assert scores_of(looking_back(0)).means(0)["first"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("architecture", "mixer"),
    [
        ("decoder", {"name": "attention", "window": 4}),
        ("encoder", {"name": "attention", "window": 4}),
        ("encoder_decoder", "attention"),
        ("encoder_decoder", {"name": "attention", "window": 4}),
    ],
    ids=str,
)
def test_head_without_queries_is_even_over_the_keys_that_it_may_attend_to(
    make_model: Callable[..., Any], scan_model: Callable[..., Any], architecture: str, mixer: Any
) -> None:
    changes = {"model.mixer": mixer, "model.position": "rope"}
    if architecture == "encoder_decoder":
        model, validation = scan_model(architecture, changes)
    else:
        model = make_model({**changes, "model.architecture": architecture})
        validation = Validation.of(Induction(symbols=10, length=12, batch_size=4), 8)
    parts = sublayers(model)
    with torch.no_grad():
        for part in parts:
            if part.mixer is not None:
                for parameter in part.mixer.query.parameters():  # type: ignore[union-attr, operator]
                    parameter.zero_()
    for part, scores in head_scores(model, parts, validation).items():
        even = scores.means_of_even()
        assert ("same" in even) == (part.kind == "mixer")
        for head in range(part.n_heads):
            means = scores.means(head)
            assert means["entropy"] == pytest.approx(1, abs=1e-6), part
            assert {name: means[name] for name in even} == pytest.approx(even), part


def test_relations_to_a_source_are_of_cross_attention_also_where_all_is_of_one_length(
    scan_model: Callable[..., Any],
) -> None:
    model, validation = scan_model("encoder_decoder")
    scores = head_scores(model, sublayers(model), validation)
    assert {part.name for part, found in scores.items() if "alignment" in found.means(0)} == {
        "decoder layer 0 cross",
        "decoder layer 1 cross",
    }


@given(lengths=some.lists(some.integers(2, 6), min_size=1, max_size=3))
def test_even_attention_has_the_scores_of_even_attention(lengths: list[int]) -> None:
    padding = torch.arange(6) < torch.tensor(lengths)[:, None]
    allowed = torch.ones(6, 6, dtype=torch.bool).tril() & padding[:, None, :]
    weights = (allowed / allowed.sum(-1, keepdim=True).clamp(min=1)).double().unsqueeze(1)
    found = scores_of(weights, padding)
    means, even = found.means(0), found.means_of_even()
    for name, value in even.items():
        assert means[name] == pytest.approx(value), name
    assert means["entropy"] == pytest.approx(1)


def test_ranges_of_distance_hold_all_the_weight() -> None:
    ranges = scores_of(looking_back(5, 16)).means(0)["by_distance"]
    assert isinstance(ranges, list) and len(ranges) == N_RANGES
    assert sum(ranges) == pytest.approx(1)
    assert ranges[3] == pytest.approx(12 / 15)  # 4 to 7 tokens away; the first queries have no such key


@pytest.mark.parametrize(("distance", "name"), [(LENGTH, "duplicate"), (LENGTH - 1, "induction")])
def test_head_that_finds_the_first_half_again_has_the_score_one(distance: int, name: str) -> None:
    found = HeadScores()
    mask = torch.ones(2 * LENGTH, 2 * LENGTH, dtype=torch.bool).tril()[None, None]
    add_repeated_scores(found, looking_back(distance, 2 * LENGTH), mask)
    means = found.means(0)
    assert means[name] == pytest.approx(1)
    assert sum(means[other] for other in ("duplicate", "induction")) == pytest.approx(1)  # type: ignore[misc]


def test_repeated_tokens_repeat_and_are_known_to_the_task() -> None:
    task = Induction(symbols=16, length=32)
    tokens = repeated_tokens(task, task.validation())
    assert tokens is not None
    first, second = tokens.chunk(2, 1)
    assert torch.equal(first, second) and tokens.max() < task.vocabulary
    assert all(len(set(row)) == len(row) for row in first.tolist()), "one token of a half is to stand for one place"


def test_partner_of_a_bracket_is_the_open_one_that_it_closes() -> None:
    task = Dyck(kinds=3, depth=4, length=16, validation_examples=20)
    batch = task.validation()
    related = task.relations(batch)["partner"]
    for tokens, targets, found in zip(batch["tokens"].tolist(), batch["targets"].tolist(), related, strict=True):
        open_at: list[int] = []
        for query, token in enumerate(tokens):
            if token < task.kinds:
                open_at.append(query)
            elif token < 2 * task.kinds:
                open_at.pop()
            expected = [open_at[-1]] if targets[query] != IGNORED else []
            assert found[query].nonzero().flatten().tolist() == expected


def test_pair_of_a_repeated_key_is_its_key_and_the_value_that_is_asked_for() -> None:
    task = AssociativeRecall(symbols=32, pairs=3, length=24, validation_examples=20)
    batch = task.validation()
    relations = task.relations(batch)
    tokens, targets = batch["tokens"], batch["targets"]
    for example, query in (targets != IGNORED).nonzero().tolist():
        (key,), (value,) = (relations[name][example, query].nonzero().tolist() for name in ("key", "value"))
        assert tokens[example, key[0]] == tokens[example, query] and value[0] == key[0] + 1 < 2 * task.pairs
        assert tokens[example, value[0]] == targets[example, query]
    assert not relations["key"][targets == IGNORED].any()


def test_answer_of_the_induction_task_is_what_followed_the_first_marker() -> None:
    task = Induction(symbols=16, length=12, validation_examples=20)
    batch = task.validation()
    related = task.relations(batch)["answer"]
    for example in range(20):
        (query, key), *more = related[example].nonzero().tolist()
        assert not more and query == 11
        assert batch["tokens"][example, key] == batch["targets"][example, query]
        assert batch["tokens"][example, key - 1] == task.symbols


def test_alignment_of_every_command_of_scan_gives_its_actions() -> None:
    for command, actions in all_commands().items():
        words = command.split()
        assert " ".join({**ACTIONS, **TURNS}[words[index]] for index in alignment(words)) == actions


def test_aligned_word_of_scan_says_the_action_that_is_asked_for() -> None:
    task = Scan(length=20, batch_size=4)
    batch = {name: tensor[:40] for name, tensor in task.validation().items()}
    related = task.relations(batch)["alignment"]
    assert torch.equal(related.any(-1), (batch["targets"] >= 3))  # ends and padding come from no word
    for example, query, key in related.nonzero().tolist():
        word, action = (
            task.decode([int(batch[name][example, at])]) for name, at in (("source", key), ("targets", query))
        )
        assert {**ACTIONS, **TURNS}[word] == action


@pytest.mark.parametrize("kind", [Copy, Reverse])
def test_original_of_a_copied_symbol_is_that_symbol(kind: type[Copy] | type[Reverse]) -> None:
    task = kind(symbols=50, length=8, validation_examples=5)
    batch = task.validation()
    related = task.relations(batch)["original"]
    assert torch.equal(related.sum(-1) == 1, batch["targets"] != IGNORED)
    for example, query, key in related.nonzero().tolist():
        assert key < 4 and batch["tokens"][example, key] == batch["targets"][example, query]
