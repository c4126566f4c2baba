"""What a task is learned from: counts against those of the tensors, and what was left out, cut or is in both parts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ablation.registry import REGISTRY
from ablation.tasks.base import Task, count_examples
from ablation.tasks.classification import Classification
from ablation.tasks.description import (
    LONGEST,
    DataDescription,
    count_in_both,
    count_repeated_windows,
    shortened,
    shortened_end,
)
from ablation.tasks.generated.listops import ListOps
from ablation.tasks.generated.scan import Scan
from ablation.tasks.sequence_to_sequence import SequenceToSequence
from ablation.tasks.text.causal import Text


@pytest.mark.parametrize("name", REGISTRY["task"])
def test_counts_are_those_of_the_examples(name: str) -> None:
    task: Task = REGISTRY["task"][name](name=name).build()
    facts = task.describe()
    assert json.loads(json.dumps(facts.as_dict())) == facts.as_dict()
    assert facts.vocabulary == task.vocabulary and facts.n_classes == task.n_classes
    assert facts.fingerprint == task.fingerprint()
    examples = task.validation()
    assert facts.validation == (count_examples(examples) if facts.windows is None else examples["tokens"].numel())
    if facts.windows is None:
        assert facts.training == count_examples(task.training(0, 0))
    else:
        assert facts.windows == count_examples(examples)


def pairs_file(folder: Path, name: str, *pairs: tuple[str, str]) -> Path:
    file = folder / name
    file.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return file


def test_pairs_that_are_left_out_are_counted(tmp_path: Path) -> None:
    long = ("a " * 9, "x")
    train = pairs_file(tmp_path, "train.tsv", ("a", "x"), long, ("b", "y"), long, ("c", "z"))
    test = pairs_file(tmp_path, "test.tsv", ("b", "y"), ("d", "x"), ("b", "y"))
    facts = SequenceToSequence(path=train, validation_path=test, level="word", length=4).describe()
    assert (facts.training, facts.of_training, facts.left_out, facts.items) == (3, 5, "length 4", "pairs")
    assert (facts.source, facts.validation_source, facts.validation, facts.duplicates) == (
        "train.tsv",
        "test.tsv",
        3,
        2,
    )
    assert (facts.first, facts.last) == ("a -> x", "b -> y")


def test_pairs_that_are_all_kept_are_not_said_to_be_left_out(tmp_path: Path) -> None:
    train = pairs_file(tmp_path, "train.tsv", ("a", "x"), ("b", "y"), ("c", "z"))
    assert SequenceToSequence(path=train, level="word", length=4).describe().of_training is None
    scan = [Scan(split="simple", length=length).describe() for length in (49, 20)]
    assert scan[0].of_training is None and scan[1].of_training == scan[0].training
    assert scan[1].training is not None and scan[0].training is not None and scan[1].training < scan[0].training


@pytest.mark.parametrize("level", ["word", "char"])
def test_texts_that_are_cut_are_counted(level: Any, tmp_path: Path) -> None:
    rows = ["a b c d,x", "a,y", "a b,x", "b,y", "a b c d e f,x"]
    (tmp_path / "a.csv").write_text("text,class\n" + "\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text("text,class\na,y\nc c c c c,x\n")
    length = {"word": 3, "char": 5}[level]
    task = Classification(path=tmp_path / "a.csv", validation_path=tmp_path / "b.csv", level=level, length=length)
    facts = task.describe()
    assert (facts.cut_training, facts.cut_validation, facts.length) == (2, 1, length)
    assert (facts.n_classes, facts.classes, facts.duplicates) == (2, ("x", "y"), 1)


def test_texts_that_a_tokenizer_cuts_are_counted(tmp_path: Path) -> None:
    from ablation.tasks.io.tokens import learn_byte_pairs

    learn_byte_pairs(["abc"], 256).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "a.csv").write_text("text,class\nabcdef,x\nabc,y\nabcd,x\n")
    options: dict[str, Any] = {"level": "bpe", "tokenizer": tmp_path / "tokenizer.json", "max_vocabulary": 300}
    task = Classification(path=tmp_path / "a.csv", validation_path=tmp_path / "a.csv", length=4, **options)
    assert task.describe().cut_training == 1


def test_expressions_of_both_files_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("3\t[MAX 1 3 ]\n4\t[MIN 4 5 ]\n9\t[MAX 1 2 3 4 5 6 7 8 9 ]\n")
    (tmp_path / "two.tsv").write_text("5\t[MAX 5 3 ]\n3\t[MAX 1 3 ]\n")
    facts = ListOps(path=tmp_path / "one.tsv", validation_path=tmp_path / "two.tsv", length=8).describe()
    assert (facts.training, facts.of_training, facts.validation, facts.of_validation) == (2, 3, 1, 2)


def test_windows_of_a_text_that_also_train_are_counted(tmp_path: Path) -> None:
    import random

    letters = random.Random(0).choices("abcdefgh", k=3000)
    text = "".join(letters) + "".join(letters[100:400])
    (tmp_path / "a.txt").write_text(text)
    facts = Text(path=tmp_path / "a.txt", length=16, validation=300 / 3300, validation_windows=100).describe()
    assert facts.windows == facts.duplicates == 18
    assert (facts.training, facts.validation, facts.of_validation) == (3000, 18 * 16, 300)
    fresh = Text(path=tmp_path / "a.txt", length=16, validation=0.5, validation_windows=10).describe()
    assert fresh.duplicates == 0 or fresh.duplicates is None or fresh.duplicates < 10


def test_unknown_words_of_the_validation_part_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b " * 100 + "c d " * 50)
    facts = Text(path=tmp_path / "a.txt", level="word", length=4, validation=1 / 3).describe()
    assert facts.unknown == 1.0 and facts.items == "words"


def test_repeated_windows_equal_a_search_in_plain_text() -> None:
    random_numbers = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, (500,), generator=random_numbers)
    windows = torch.randint(3, (200, 5), generator=random_numbers)
    text = "".join(map(str, tokens.tolist()))
    expected = sum("".join(map(str, window)) in text for window in windows.tolist())
    assert 0 < expected < 200
    assert count_repeated_windows(windows, tokens) == expected
    assert count_repeated_windows(windows, tokens[:4]) == 0
    assert count_repeated_windows(windows[:, :1] * 0 + 7, tokens) == 0


def test_rows_in_both_parts_are_counted_as_often_as_they_validate() -> None:
    assert count_in_both([("a", "x"), ("b", "y")], [("a", "x"), ("a", "x"), ("a", "y")]) == 2


def test_what_is_shown_of_a_row_is_short_and_printable() -> None:
    assert shortened("a\nb\x1b") == r"a\nb\x1b" and shortened_end("a\nb") == r"a\nb"
    assert shortened("x" * 1000) == "x" * LONGEST + "..." and shortened_end("x" * 999 + "y").endswith("xy")


def test_unknown_facts_are_left_out_of_plain_data() -> None:
    assert DataDescription(source="a").as_dict() == {"source": "a", "items": "examples", "vocabulary": 0}
