"""Generated tasks: each solved by a rule written out here; SCAN and ListOps against the published files."""

import gzip
import math
import re
from pathlib import Path
from statistics import median
from typing import Any

import numpy
import pytest
import torch
from support import DATA, needs_data
from torch import Tensor
from torchmetrics.functional.classification import multiclass_f1_score

from ablation.errors import InputError
from ablation.registry import REGISTRY
from ablation.tasks.base import IGNORED, Examples, Task
from ablation.tasks.generated.arithmetic import Addition, ModularAddition, ModularArithmetic, Parity
from ablation.tasks.generated.base import GeneratedTask, sample_without_replacement
from ablation.tasks.generated.copying import Copy, Reverse, SelectiveCopying, Sort
from ablation.tasks.generated.listops import (
    OPERATORS,
    PAD,
    WORDS,
    ListOps,
    apply_operators,
    by_depths,
    depths,
    encode_expressions,
    evaluate,
    read_expressions,
)
from ablation.tasks.generated.memory import AssociativeRecall, Dyck, Induction
from ablation.tasks.generated.scan import LONGEST_COMMAND, Scan, all_commands, split_pairs
from ablation.tasks.io.files import DataFile
from ablation.tasks.metrics import BitsPerCharacter, CrossEntropy, ExactMatch, class_metrics

GENERATED = [name for name, config in REGISTRY["task"].items() if issubclass(config.component, GeneratedTask)]
EVERY = list(REGISTRY["task"])
FINITE = ("scan", "classification", "sequence_to_sequence", "modular_addition")


def small(name: str, **hyper: Any) -> Task:
    config = REGISTRY["task"][name]
    sizes = {"epoch_examples": 200, "validation_examples": 50}
    fitting = {field: value for field, value in sizes.items() if field in config.hyperparameters()}
    task: Task = config(name=name, **fitting, **hyper).build()
    return task


def same(one: Examples, other: Examples) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", EVERY)
def test_training_depends_on_seed_and_epoch_validation_on_nothing(name: str) -> None:
    task = small(name)
    first, fixed = task.training(1, 2), task.validation()
    torch.manual_seed(5)
    torch.rand(3)
    task.training(3, 4)
    other = small(name)
    assert same(other.validation(), fixed) and same(task.validation(), fixed)
    assert same(other.training(1, 2), first) and same(task.training(1, 2), first)
    for changed in (task.training(1, 3), task.training(2, 2)):
        assert same(changed, first) == (name in FINITE), "what is finite is the same each epoch; its order is drawn"
    assert task.fingerprint() == other.fingerprint()


def test_modular_addition_splits_all_pairs_and_adds_them() -> None:
    task = ModularAddition(modulus=7, training_fraction=0.3, batch_size=4)
    sets = [task.training(0, 0), task.validation()]
    assert [len(examples["targets"]) for examples in sets] == [15, 34]
    rows = [(*map(int, row), int(sum_)) for e in sets for row, sum_ in zip(e["tokens"], e["targets"], strict=True)]
    assert sorted(rows) == [(a, b, 7, (a + b) % 7) for a in range(7) for b in range(7)]
    assert same(task.further_validation()["seen"], sets[0])


@pytest.mark.parametrize("name", EVERY)
def test_examples_are_what_their_kind_promises(name: str) -> None:
    more = {"extrapolate": 4} if "extrapolate" in REGISTRY["task"][name].hyperparameters() else {}
    task = small(name, **more)
    sets = {"": task.validation(), **task.further_validation()}
    assert [ending for ending in sets if ending != "seen"] == ["", *(["2x", "4x"] if more else [])]
    for ending, examples in {"training": task.training(0, 0), **sets}.items():
        tokens, targets = examples["tokens"], examples["targets"]
        n_tokens = task.length * int(ending[0]) if ending.endswith("x") else task.length
        assert tokens.shape == (len(tokens), n_tokens) and len(tokens) > 0
        assert tokens.dtype == targets.dtype == torch.long
        assert n_tokens <= task.longest
        for text in (examples[key] for key in ("tokens", "source") if key in examples):
            assert text.min() >= 0 and text.max() < task.vocabulary and text.size(1) <= task.longest
        if task.kind == "classification":
            assert task.n_classes is not None and targets.shape == (len(tokens),)
            assert targets.min() >= 0 and targets.max() < task.n_classes
        else:
            assert targets.shape == tokens.shape and task.n_classes is None
            asked = targets[targets != IGNORED]
            assert asked.min() >= 0 and asked.max() < task.vocabulary and (targets != IGNORED).any(1).all()
        for key in ("padding", "source_padding"):
            if key in examples:
                assert examples[key].dtype == torch.bool and examples[key][:, 0].all()
                assert (examples[key].int().diff(dim=1) <= 0).all(), "the padding stands at the end"
        assert ("source" in examples) == (task.kind == "seq2seq")
    assert task.longest == task.length * (4 if more else 1) or task.kind == "seq2seq"


@pytest.mark.parametrize("name", GENERATED)
def test_sets_of_a_task_do_not_repeat_each_other(name: str) -> None:
    task = small(name, extrapolate=2)
    seen = {tuple(text) for text in task.training(0, 0)["tokens"].tolist() if PAD not in text[8:]}
    fixed = {tuple(text) for text in task.validation()["tokens"].tolist()}
    assert len(seen & fixed) < 0.1 * len(fixed)


@pytest.mark.parametrize("name", GENERATED)
def test_longer_validation_does_not_change_the_task(name: str) -> None:
    assert same(small(name).training(0, 0), small(name, extrapolate=8).training(0, 0))
    assert same(small(name).validation(), small(name, extrapolate=8).validation())


def answers(examples: Examples) -> list[tuple[list[int], list[int]]]:
    """What is shown, and what is asked for."""
    return [
        (text.tolist(), [target for target in targets.tolist() if target != IGNORED])
        for text, targets in zip(examples["tokens"], examples["targets"], strict=True)
    ]


def both(task: Task) -> list[tuple[list[int], list[int]]]:
    return answers(task.training(0, 0)) + [pair for s in task.further_validation().values() for pair in answers(s)]


@pytest.mark.parametrize(
    ("task", "rule"), [(Copy, list), (Reverse, lambda s: s[::-1]), (Sort, sorted)], ids=["copy", "reverse", "sort"]
)
def test_transformed_symbols_are_the_target(task: Any, rule: Any) -> None:
    for shown, asked in both(task(symbols=9, length=10, epoch_examples=50, extrapolate=4)):
        symbols = shown[: shown.index(9)]
        assert asked == rule(symbols) and shown[len(symbols) + 1 :] == asked[:-1]


def test_selective_copying_targets_the_symbols_in_order() -> None:
    task = SelectiveCopying(symbols=5, copied=3, length=9, epoch_examples=200, extrapolate=2)
    places = set()
    for shown, asked in both(task):
        assert [token for token in shown if token < 5] == asked and shown[-3:] == [6, 6, 6] and shown.count(6) == 3
        places.add(tuple(place for place, token in enumerate(shown[:6]) if token < 5))
    assert {len(place) for place in places} >= {3} and len([p for p in places if len(p) == 3]) == math.comb(6, 3)
    targets = task.training(0, 0)["targets"]
    assert (targets[:, :6] == IGNORED).all() and (targets[:, 6:] != IGNORED).all()
    with pytest.raises(InputError, match="must be at least 6 for 3 symbols and their markers"):
        SelectiveCopying(copied=3, length=5)


@pytest.mark.parametrize("least_first", [False, True])
def test_sum_is_the_sum(least_first: bool) -> None:
    for shown, asked in both(Addition(length=12, least_first=least_first, epoch_examples=300, extrapolate=4)):
        text = "".join("0123456789+=^"[token] for token in shown)
        match = re.fullmatch(r"\^(\d+)\+(\d+)=(\d*)", text)
        assert match and len(match[1]) == len(match[2]) == len(asked) - 1
        total = "".join(map(str, asked))
        assert total[:-1] == match[3]
        assert int(match[1]) + int(match[2]) == int(total[::-1] if least_first else total)


def test_parity_is_whether_the_ones_are_odd_at_every_length() -> None:
    task = Parity(length=8, epoch_examples=800, extrapolate=4)
    for examples, lengths in (
        (task.training(0, 0), range(1, 9)),
        (task.further_validation()["2x"], range(9, 17)),
        (task.further_validation()["4x"], range(17, 33)),
    ):
        seen = set()
        for tokens, padding, target in zip(examples["tokens"], examples["padding"], examples["targets"], strict=True):
            row = tokens[padding].tolist()
            assert sum(row) % 2 == int(target) and (tokens[~padding] == 2).all() and set(row) <= {0, 1}
            seen.add(len(row))
        assert seen == set(lengths)


@pytest.mark.parametrize("length", [7, 8])
@pytest.mark.parametrize("modulus", [2, 5, 11])
def test_modular_arithmetic_agrees_with_python(length: int, modulus: int) -> None:
    task = ModularArithmetic(modulus=modulus, length=length, epoch_examples=600, extrapolate=2)
    for examples, lengths in (
        (task.training(0, 0), {1, 3, 5, 7}),
        (task.further_validation()["2x"], set(range(length + 1, 2 * length + 1)) & set(range(1, 99, 2))),
    ):
        seen = set()
        for tokens, padding, target in zip(examples["tokens"], examples["padding"], examples["targets"], strict=True):
            row = tokens[padding].tolist()
            text = "".join(str(token) if token < modulus else "+-*"[token - modulus] for token in row)
            assert re.fullmatch(r"\d+([-+*]\d+)*", text) and eval(text) % modulus == int(target), text
            seen.add(len(row))
        assert seen == lengths


def test_brackets_are_balanced_and_closing_ones_are_the_target() -> None:
    task = Dyck(kinds=3, depth=4, length=20, epoch_examples=200, extrapolate=2)
    deepest = 0
    for examples in (task.training(0, 0), task.further_validation()["2x"]):
        for shown, targets in zip(examples["tokens"].tolist(), examples["targets"].tolist(), strict=True):
            assert shown[0] == 6 and 6 not in shown[1:]
            whole = [*shown[1:], targets[-1]]
            stack: list[int] = []
            for token, target in zip(whole, targets, strict=True):
                if token < 3:
                    stack.append(token)
                    assert target == IGNORED
                else:
                    assert stack.pop() == token - 3 and target == token
                deepest = max(deepest, len(stack))
            assert stack == []
    assert deepest == 4


@pytest.mark.parametrize("random_fill", [True, False])
def test_each_key_is_queried_once_for_its_value(random_fill: bool) -> None:
    task = AssociativeRecall(symbols=40, pairs=5, length=32, random_fill=random_fill, epoch_examples=300, extrapolate=2)
    for examples in (task.training(0, 0), task.further_validation()["2x"]):
        for tokens, targets in zip(examples["tokens"].tolist(), examples["targets"].tolist(), strict=True):
            keys, values = tokens[:10:2], tokens[1:10:2]
            assert len(set(keys)) == len(set(values)) == 5
            assert all(1 <= key < 20 for key in keys) and all(20 <= value < 40 for value in values)
            places = [place for place, target in enumerate(targets) if target != IGNORED]
            assert all(place >= 10 and place % 2 == 0 for place in places)
            asked = {tokens[place]: targets[place] for place in places}
            assert asked == dict(zip(keys, values, strict=True)) and len(places) == 5
            if not random_fill:
                assert all(token == 0 for place, token in enumerate(tokens[10:], 10) if place not in places)


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_keys_come_again_at_the_distances_of_the_power_law(power: float) -> None:
    """Against numpy's own choice without replacement, as the definition has it."""
    task = AssociativeRecall(symbols=64, pairs=3, length=26, power=power, epoch_examples=20_000)
    shares = (task.training(0, 0)["targets"] != IGNORED).float().mean(0)[6::2]
    weight = power * numpy.arange(1, 11) ** (power - 1)
    chooser = numpy.random.default_rng(0)
    drawn = [chooser.choice(10, size=3, replace=False, p=weight / weight.sum()) for _ in range(20_000)]
    wanted = numpy.bincount(numpy.concatenate(drawn), minlength=10) / 20_000
    assert numpy.allclose(shares, wanted, atol=0.015)
    assert shares.sum() == pytest.approx(3)


def test_pairs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="must be at least 16 for"):
        AssociativeRecall(pairs=4, length=14)
    with pytest.raises(InputError, match="must be at least 10 for"):
        AssociativeRecall(pairs=4, symbols=9)
    assert AssociativeRecall(pairs=4, symbols=10, epoch_examples=5).training(0, 0)


def test_induction_targets_what_followed_the_mark() -> None:
    places = set()
    for shown, asked in both(Induction(symbols=5, length=6, epoch_examples=200, extrapolate=2)):
        place = shown.index(5)
        assert shown.count(5) == 2 and shown[-1] == 5 and asked == [shown[place + 1]] and asked[0] < 5
        places.add((len(shown), place))
    assert places == {(6, place) for place in range(4)} | {(12, place) for place in range(10)}


def test_distinct_numbers_are_distinct_and_equally_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = sample_without_replacement(5000, 3, 5, torch.Generator().manual_seed(0))
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    assert (drawn.flatten().bincount() / 5000).tolist() == pytest.approx([0.6] * 5, abs=0.03)
    assert sample_without_replacement(2**14, 2, 2**12, torch.Generator()).shape == (2**14, 2), "drawn in several chunks"


# ListOps


def value(words: list[str]) -> int:
    """By recursion, with what Python has for lists."""
    word = words.pop(0)
    if word.isdigit():
        return int(word)
    values = []
    while words[0] != "]":
        values.append(value(words))
    words.pop(0)
    results = {"[MAX": max, "[MIN": min, "[MED": lambda v: int(median(v)), "[SM": lambda v: sum(v) % 10}
    results |= {"[FIRST": lambda v: v[0], "[LAST": lambda v: v[-1]}
    return int(results[word](values))


def spelled(tokens: Tensor) -> list[str]:
    names = {id: word for word, id in WORDS.items()}
    return [names[token] for token in tokens.tolist() if token != PAD]


def test_listops_are_what_recursion_makes_of_them() -> None:
    task = ListOps(length=24, depth=6, epoch_examples=600, validation_examples=200, extrapolate=4)
    found: set[str] = set()
    for examples, shortest, longest in (
        (task.training(0, 0), 4, 24),
        (task.further_validation()["2x"], 25, 48),
        (task.further_validation()["4x"], 49, 96),
    ):
        lengths = examples["padding"].sum(1)
        assert lengths.min() >= shortest and lengths.max() <= longest
        assert lengths.float().std() > (longest - shortest) / 6, "all lengths come"
        assert torch.equal(examples["padding"], examples["tokens"] != PAD)
        for tokens, target in zip(examples["tokens"], examples["targets"], strict=True):
            words = spelled(tokens)
            found |= set(words)
            assert value(words) == int(target) and words == []
    assert found == set(WORDS)


def test_lists_have_up_to_the_given_arguments_and_depth() -> None:
    sizes, depths = set(), set()
    for tokens in ListOps(length=64, arguments=4, depth=3, epoch_examples=500).training(0, 0)["tokens"]:
        stack, deepest = [0], 0
        for word in spelled(tokens):
            if word == "]":
                sizes.add(stack.pop())
            else:
                stack[-1] += 1
                if word in OPERATORS:
                    stack.append(0)
            deepest = max(deepest, len(stack) - 1)
        depths.add(deepest)
    assert sizes == {2, 3, 4} and depths == {1, 2, 3}


def test_impossible_length_of_expressions_is_refused() -> None:
    with pytest.raises(InputError, match="too few random expressions have 257 tokens or more"):
        ListOps(length=64, depth=2, arguments=2, extrapolate=8).fingerprint()
    ListOps(length=64, extrapolate=8).fingerprint()


def test_every_operator_agrees_with_its_definition() -> None:
    random = torch.Generator().manual_seed(0)
    for size in (1, 2, 3, 4, 7):
        lists = torch.randint(10, (200, size), generator=random)
        counts = torch.nn.functional.one_hot(lists, 10).sum(1)
        by_hand = [
            lambda v: max(v),
            min,
            lambda v: int(numpy.median(v)),
            lambda v: sum(v) % 10,
            lambda v: v[0],
            lambda v: v[-1],
        ]
        for number, rule in enumerate(by_hand):
            got = apply_operators(torch.full((200,), 10 + number), counts, lists[:, 0], lists[:, -1])
            assert got.tolist() == [rule(row) for row in lists.tolist()], OPERATORS[number]


@needs_data
@pytest.mark.parametrize("file", ["test_d8.tsv", "test_d14.tsv"])
def test_all_published_labels_are_reproduced(file: str) -> None:
    labels = read_expressions(DataFile("task.path", DATA / "listops" / file))
    examples = encode_expressions(labels)
    assert len(labels) == 10_000
    assert torch.equal(evaluate(examples["tokens"]), examples["targets"])


@needs_data
def test_expressions_of_a_file_are_scored_once_by_length() -> None:
    folder = DATA / "listops"
    task = ListOps(path=folder / "test_d8.tsv", validation_path=folder / "test_d14.tsv", length=96, extrapolate=4)
    sets = {"": task.validation(), **task.further_validation()}
    n_rows = [len(examples["tokens"]) for examples in sets.values()]
    assert sum(n_rows) == 10_000 - 75, "75 expressions are in both files"
    assert len(task.training(0, 0)["tokens"]) == 10_000
    assert sets["2x"]["padding"].sum(1).min() > 96 and sets["2x"]["tokens"].size(1) == 192


def test_depth_is_how_many_lists_are_open_at_once() -> None:
    labels = {"7": 7, "[MAX 1 2 ]": 2, "[MAX [MIN 1 2 ] [MED [SM 3 4 ] 1 ] ]": 4, "[MAX [MIN 1 2 ] 3 ]": 3}
    assert depths(encode_expressions(labels)["tokens"]).tolist() == [0, 1, 3, 2]


def nested(depth: int, tail: str) -> str:
    return "[MAX " * depth + tail + " ]" * depth


def test_expressions_are_scored_by_depth_with_rare_ones_merged() -> None:
    counts = {0: 3, 1: 40, 2: 35, 3: 29, 4: 6, 5: 50, 6: 12, 8: 2}
    labels = {nested(d, f"{n // 10} {n % 10}" if d else str(n)): 1 for d, count in counts.items() for n in range(count)}
    examples = encode_expressions(labels)
    examples["padding"] = examples["tokens"] != PAD
    parts = by_depths(examples)
    assert {name: len(part["tokens"]) for name, part in parts.items()} == {
        "depth0-1": 43, "depth2": 35, "depth3-4": 35, "depth5-8": 64
    }  # fmt: skip
    few = {name: tensor[:2] for name, tensor in examples.items()}
    assert list(by_depths(few)) == ["depth0"]


def test_depths_and_buckets_part_the_validation_set() -> None:
    plain = ListOps(length=24, validation_examples=300, extrapolate=2)
    task = ListOps(length=24, validation_examples=300, extrapolate=2, buckets=3, by_depth=True)
    usual, sets = task.validation(), task.further_validation()
    assert same(usual, plain.validation()) and same(sets["2x"], plain.further_validation()["2x"])
    by_depth = [name for name in sets if name.startswith("depth")]
    by_length = [name for name in sets if name[0].isdigit() and not name.endswith("x")]
    assert list(sets) == [*by_length, *by_depth, "2x"] and len(by_length) == 3 and len(by_depth) > 2

    def texts(examples: Examples) -> list[tuple[list[int], int]]:
        tokens = (text[seen].tolist() for text, seen in zip(examples["tokens"], examples["padding"], strict=True))
        return list(zip(tokens, examples["targets"].tolist(), strict=True))

    for names in (by_depth, by_length):
        assert sorted(text for name in names for text in texts(sets[name])) == sorted(texts(usual))
    for name in by_length:
        n_tokens = sets[name]["padding"].sum(1)
        assert name == f"{n_tokens.min()}-{n_tokens.max()}" and sets[name]["tokens"].size(1) == n_tokens.max()


def test_line_that_is_no_expression_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.tsv").write_text("3\t( [MAX 3 ) 1 ) ] )\n")
    for text, why in (
        ("3\t[MAX 3 1 ]\n5\t[MOX 1 2 ]\n", ":2: expected a digit, a tab"),
        ("", "is empty"),
        ("x\t1\n", ":1:"),
        ("3\t[MAX 3 [MIN 2 ]\n", ":1:"),
    ):
        (tmp_path / "bad.tsv").write_text(text)
        with pytest.raises(InputError, match=why):
            ListOps(path=tmp_path / "bad.tsv", validation_path=tmp_path / "good.tsv").fingerprint()
    with pytest.raises(InputError, match=r"must be set together with task\.path"):
        ListOps(path=tmp_path / "good.tsv")
    with pytest.raises(InputError, match="no expressions of 1 to 64 tokens for validation"):
        ListOps(path=tmp_path / "good.tsv", validation_path=tmp_path / "good.tsv").fingerprint()


# SCAN


def published(text: str) -> list[tuple[str, str]]:
    pairs = [tuple(line.removeprefix("IN: ").split(" OUT: ")) for line in text.splitlines()]
    return [(command, actions) for command, actions in pairs]


def test_examples_of_the_paper_evaluate_as_it_states() -> None:
    meaning = all_commands()
    assert len(meaning) == 20_910
    assert meaning["jump twice"] == "I_JUMP I_JUMP"
    assert meaning["turn left twice"] == "I_TURN_LEFT I_TURN_LEFT"
    assert meaning["jump opposite left after walk around left"] == (
        4 * "I_TURN_LEFT I_WALK " + "I_TURN_LEFT I_TURN_LEFT I_JUMP"
    )
    assert max(len(command.split()) for command in meaning) == LONGEST_COMMAND
    assert max(len(actions.split()) for actions in meaning.values()) == 48


@needs_data
def test_all_published_commands_are_generated_and_no_other() -> None:
    with gzip.open(DATA / "scan" / "tasks.txt.gz", "rt") as file:
        assert sorted(published(file.read())) == sorted(all_commands().items())


@needs_data
@pytest.mark.parametrize("split", ["length", "addprim_jump"])
def test_splits_are_the_published_ones(split: Any) -> None:
    for part, name in zip(split_pairs(split), ("train", "test"), strict=True):
        assert sorted(part) == sorted(published((DATA / "scan" / f"tasks_{name}_{split}.txt").read_text()))


def test_simple_split_holds_out_a_fifth() -> None:
    training, validation = split_pairs("simple")
    assert len(validation) == 4182 and dict(training + validation) == all_commands()
    assert not dict(training).keys() & dict(validation).keys()


def test_decoder_reads_begin_and_actions_and_writes_them_and_end() -> None:
    examples = Scan(split="length", buckets=3).validation()
    for tokens, targets, padding in zip(examples["tokens"], examples["targets"], examples["padding"], strict=True):
        n_tokens = int(padding.sum())
        assert tokens[0] == 1 and targets[n_tokens - 1] == 2
        assert torch.equal(tokens[1:n_tokens], targets[: n_tokens - 1])
        assert (targets[n_tokens:] == IGNORED).all() and (tokens[n_tokens:] == 0).all()
    buckets = Scan(split="length", buckets=3).further_validation()
    assert sum(len(part["tokens"]) for part in buckets.values()) == len(examples["tokens"]) == 1024
    for name, part in buckets.items():
        lengths = (part["targets"] != IGNORED).sum(1) - 1
        assert name == f"{lengths.min()}-{lengths.max()}" and len(lengths) > 200


def test_shorter_sequences_leave_out_longer_commands() -> None:
    task = Scan(length=12)
    assert (task.training(0, 0)["padding"].sum(1) <= 12).all() and task.longest == 12
    assert 0 < len(task.training(0, 0)["tokens"]) < 0.8 * 20_910
    with pytest.raises(InputError, match="leaves no commands"):
        Scan(split="length", length=20).fingerprint()


# Metrics and training


def test_macro_f1_and_accuracy_equal_torchmetrics() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 4, generator=random)
    targets = torch.where(torch.rand(60, generator=random) < 0.4, logits.argmax(-1), 1)
    metrics = class_metrics(4)
    for part in (slice(0, 25), slice(25, 60)):
        for metric in metrics.values():
            metric.update(logits[part], targets[part])
    f1 = multiclass_f1_score(logits, targets, num_classes=4, average="macro")
    assert metrics["macro_f1"].compute() == pytest.approx(f1.item())
    guessed = logits.argmax(-1)
    by_hand = []
    for number in range(4):
        hits = int(((guessed == number) & (targets == number)).sum())
        by_hand.append(2 * hits / int((guessed == number).sum() + (targets == number).sum()))
    assert f1.item() == pytest.approx(sum(by_hand) / 4)
    assert metrics["accuracy"].compute() == pytest.approx((guessed == targets).float().mean().item())


def test_bits_per_character_count_what_characters_cost() -> None:
    """A uniform guess among 8 tokens costs 3 bits; with 2 tokens for 10 characters that is 0.6 bits for each."""
    bits, loss = BitsPerCharacter(2 / 10), CrossEntropy()
    for metric in (bits, loss):
        metric.update(torch.zeros(1, 5, 8), torch.zeros(1, 5, dtype=torch.long))
    assert bits.compute().item() == pytest.approx(0.6)
    assert bits.compute().item() == pytest.approx(loss.compute().item() / math.log(2) * 0.2)


MINIATURE = {
    "copy": {"extrapolate": 4, "length": 8},
    "masked_text": {"length": 12, "extrapolate": 2, "validation_windows": 9},
    "parity": {"length": 8, "extrapolate": 2},
    "scan": {"split": "length", "buckets": 2, "validation_examples": 20},
}


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("copy", "decoder"),
        ("masked_text", "encoder"),
        ("parity", "decoder"),
        ("parity", "encoder"),
        ("scan", "encoder_decoder"),
        ("scan", "prefix_decoder"),
    ],
)
def test_every_kind_trains_and_every_set_is_scored_as_if_alone(
    name: str, architecture: str, configure: Any, tmp_path: Path
) -> None:
    """Learned positions, so that the model must be built for the longest set."""
    from ablation.training import run as training
    from ablation.training.learner import Learner

    data = {"name": name, "batch_size": 8, **MINIATURE[name]}
    if "epoch_examples" in REGISTRY["task"][name].hyperparameters():
        data |= {"epoch_examples": 64, "validation_examples": 20}
    config = configure({"task": data, "model.architecture": architecture, "model.position": "learned"})
    kept: list[Any] = []

    class Spy(Learner):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Learner", Spy)
        quality = training.train(config, tmp_path)["quality"]
    final = quality["final"]
    task, model = config.task.build(), kept[0].model.eval()
    sets = {"": task.validation(), **{f"@{key}": value for key, value in task.further_validation().items()}}
    assert len(sets) > 1
    decoded = {f"edit_distance{ending}" for ending in sets if task.kind == "seq2seq"}
    assert final.keys() == {f"{metric}{ending}" for metric in task.metrics() for ending in sets} | decoded
    assert quality["directions"].keys() == final.keys() and {quality["directions"][name] for name in decoded} <= {
        "lower"
    }
    for ending, examples in sets.items():
        with torch.no_grad():
            logits = model(**{key: tensor for key, tensor in examples.items() if key != "targets"})
        for metric_name, metric in task.metrics().items():
            metric.update(logits, examples["targets"])
            assert final[f"{metric_name}{ending}"] == pytest.approx(metric.compute().item(), rel=1e-4)


def test_exact_match_needs_every_target_token() -> None:
    metric = ExactMatch()
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 2, 0], [1, 2, 0]]), 3).float()
    metric.update(logits, torch.tensor([[1, 2, IGNORED], [1, 1, IGNORED]]))
    assert metric.compute() == 0.5
