"""What measures are about: the same for settings of training, another where a measure would mean another thing."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_grids import plan_of, write_grid
from torch.nn.functional import cross_entropy

from ablation.registry import REGISTRY
from ablation.tasks.base import IGNORED, Task
from ablation.tasks.classification import Classification
from ablation.tasks.fingerprint import fingerprint_of_examples
from ablation.tasks.generated.copying import Copy
from ablation.tasks.text.causal import Text
from ablation.tasks.text.masked import MaskedText

WORDS = ["the", "cat", "sat", "on", "mats", "and", "saw", "it"]
LINES = "".join(random.Random(n).choice(WORDS) + random.Random(-n).choice([" ", " ", "\n"]) for n in range(1, 15_000))
PLAIN = "\n".join(line for line in LINES.split("\n") if line).replace(" \n", "\n").strip() + "\n"
"""Words with one space between them, no empty lines: what a split into words holds all of."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text(PLAIN)
    return file


def measured_on(path: Path, kind: type[Text] | type[MaskedText] = Text, **options: Any) -> dict[str, Any]:
    return kind(path=path, **{"length": 8, "validation_windows": 100_000} | options).measured_on()


@pytest.mark.parametrize("name", REGISTRY["task"])
def test_record_of_every_task_is_plain_and_the_same_each_time(name: str) -> None:
    task: Task = REGISTRY["task"][name](name=name).build()
    record = task.measured_on()
    assert {"unit", "validation", "further", "classes"} <= record.keys()
    assert json.loads(json.dumps(record)) == record == task.measured_on()
    assert (record["classes"] is None) == (task.n_classes is None)


def test_settings_of_training_do_not_change_what_is_measured(text: Path) -> None:
    assert measured_on(text, batch_size=4) == measured_on(text)
    few = {"length": 8, "batch_size": 4, "epoch_examples": 24}
    assert Copy(**few).measured_on() == Copy(**few | {"epoch_examples": 48, "batch_size": 8}).measured_on()


@pytest.mark.parametrize(
    "changed",
    [{"length": 16}, {"validation_windows": 4}, {"validation": 0.2}, {"level": "word"}, {"level": "bpe"}],
)  # fmt: skip
def test_other_windows_or_tokens_are_another_validation_set(changed: dict[str, Any], text: Path) -> None:
    one, other = measured_on(text), measured_on(text, **changed)
    assert one["validation"] != other["validation"]
    assert (one["unit"] == other["unit"]) == ("level" not in changed)


def test_vocabulary_is_part_of_the_unit(text: Path) -> None:
    other = text.with_name("other.txt")
    other.write_text(PLAIN.replace("cat", "dog"))
    for level in ("char", "word", "bpe"):
        assert measured_on(text, level=level)["unit"] != measured_on(other, level=level)["unit"]
    assert measured_on(text, level="byte")["unit"] == measured_on(other, level="byte")["unit"] == "byte"


def test_masked_fraction_is_part_of_the_record(text: Path) -> None:
    records = [measured_on(text, MaskedText, masked=fraction) for fraction in (0.15, 0.4)]
    assert [record["masked"] for record in records] == [0.15, 0.4]
    assert records[0]["validation"] != records[1]["validation"]


def test_another_symbol_or_length_is_another_validation_set() -> None:
    records = [Copy(**options).measured_on() for options in ({"symbols": 4}, {"symbols": 8}, {"length": 16})]
    assert len({record["validation"] for record in records}) == 3
    assert records[0]["unit"] != records[1]["unit"]


def test_further_sets_have_fingerprints_of_their_own() -> None:
    further = Copy(length=8, extrapolate=4).measured_on()["further"]
    assert list(further) == ["2x", "4x"] and further["2x"] != further["4x"]


def table(folder: Path, *rows: str) -> Path:
    file = folder / f"{abs(hash(rows))}.csv"
    file.write_text("text,class\n" + "".join(f"{row}\n" for row in rows))
    return file


def test_rows_of_a_table_are_measured_alike_at_all_levels_and_lengths(tmp_path: Path) -> None:
    file = table(tmp_path, *(f"word{n} more,{'yes' if n % 3 else 'no'}" for n in range(40)))
    records = [
        Classification(path=file, **options).measured_on()
        for options in ({"level": "word"}, {"level": "char"}, {"level": "bpe"}, {"length": 3})
    ]
    assert all(record == records[0] for record in records)
    assert records[0]["classes"] == ["no", "yes"] and records[0]["unit"] == "class"


def test_other_classes_or_validation_rows_are_another_measure(tmp_path: Path) -> None:
    rows = [f"word{n} more,{'yes' if n % 3 else 'no'}" for n in range(40)]
    one = Classification(path=table(tmp_path, *rows)).measured_on()
    other = Classification(path=table(tmp_path, *(row.replace("yes", "maybe") for row in rows))).measured_on()
    assert one["classes"] != other["classes"]
    assert one["validation"] != Classification(path=table(tmp_path, *rows), validation=0.3).measured_on()["validation"]


def test_many_classes_are_a_fingerprint(tmp_path: Path) -> None:
    rows = [f"word,class{n:03}" for n in range(150) for _ in range(2)]
    record = Classification(path=table(tmp_path, *rows), validation_path=table(tmp_path, rows[0])).measured_on()
    assert isinstance(record["classes"], str)


def test_padding_beyond_the_longest_example_does_not_count() -> None:
    tokens = torch.tensor([[3, 4, 0, 0], [5, 0, 0, 0]])
    examples = {"tokens": tokens, "padding": tokens != 0, "targets": torch.tensor([0, 1])}
    shorter = {**examples, "tokens": tokens[:, :2], "padding": tokens[:, :2] != 0}
    assert fingerprint_of_examples(examples, IGNORED) == fingerprint_of_examples(shorter, IGNORED)
    changed = {**examples, "tokens": tokens + (tokens == 4)}
    assert fingerprint_of_examples(examples, IGNORED) != fingerprint_of_examples(changed, IGNORED)


def test_targets_are_cut_with_padding_only_where_they_are_ignored() -> None:
    """Not by their shape: two numbers to be predicted for each of two tokens are no padding."""
    tokens = torch.tensor([[3, 0], [5, 0]])
    numbers = {"tokens": tokens, "padding": tokens != 0, "targets": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    other = {**numbers, "targets": torch.tensor([[1.0, 2.5], [3.0, 4.0]])}
    assert fingerprint_of_examples(numbers, IGNORED) != fingerprint_of_examples(other, IGNORED)
    ignoring = {**numbers, "targets": torch.tensor([[1, IGNORED], [3, IGNORED]])}
    shorter = {name: tensor[:, :1] for name, tensor in ignoring.items()}
    assert fingerprint_of_examples(ignoring, IGNORED) == fingerprint_of_examples(shorter, IGNORED)


# The text behind bits per character


def test_whole_text_is_the_same_text_at_every_level(text: Path) -> None:
    records = {level: measured_on(text, level=level) for level in ("char", "byte", "word", "bpe")}
    assert {record["text_missing"] for record in records.values()} == {None}
    assert len({record["text"] for record in records.values()}) == 1
    assert len({record["validation"] for record in records.values()}) == 4


def test_a_sample_of_windows_has_no_text_in_common(text: Path) -> None:
    record = measured_on(text, validation_windows=4)
    assert record["text"] is None
    assert record["text_missing"].startswith("32 of the ")
    windows = int(record["text_missing"].rpartition(": ")[2].split()[0])
    assert measured_on(text, validation_windows=windows)["text"]
    assert measured_on(text, validation_windows=windows // 2)["text"] is None


def test_unknown_words_have_no_text_in_common_with_characters(text: Path) -> None:
    text.write_text(PLAIN + "unheard " * 400 + "\n")
    assert "unknown" in measured_on(text, level="word")["text_missing"]
    assert measured_on(text, level="char")["text"]


def test_spaces_that_words_lose_are_named(text: Path) -> None:
    text.write_text(PLAIN.replace(" the", "  the"))
    assert "spaces" in measured_on(text, level="word")["text_missing"]
    assert measured_on(text, level="bpe")["text"] == measured_on(text, level="char")["text"]


def test_same_text_means_the_same_bits_for_the_same_probabilities(text: Path) -> None:
    """A model of words that is certain of nothing, and one of characters that gives each text as many bits."""
    words = Text(path=text, level="word", length=8, validation_windows=100_000)
    assert words.measured_on()["text"]
    examples = words.validation()
    logits = torch.randn(*examples["targets"].shape, words.vocabulary, generator=torch.Generator().manual_seed(0))
    metric: Any = words.metrics()["bits_per_character"]
    metric.update(logits, examples["targets"])
    bits = cross_entropy(logits.flatten(0, 1), examples["targets"].flatten(), reduction="sum").item() / math.log(2)
    scored = words.decode(examples["targets"].flatten().tolist())
    assert metric.compute().item() == pytest.approx(bits / len(scored), rel=0.02)


def test_lines_of_words_are_joined_as_they_were(text: Path) -> None:
    task = Text(path=text, level="word", length=8)
    for written in ("the cat\nsat\n", "\n\nthe cat", "the\n\n\ncat on"):
        assert task.decode(task.encode(written)) == written


# In the manifest


def test_cells_and_runs_carry_what_their_measures_are_about(tmp_path: Path) -> None:
    grid = write_grid(tmp_path, {"task.symbols": [4, 6]}, seeds=1)
    grid.write_text(grid.read_text() + "allow: [unit, validation]\n")
    plan = plan_of(grid)
    records = [cell["measured_on"] for cell in plan.manifest()["cells"]]
    assert [record["task"] for record in records] == ["copy", "copy"]
    assert records[0]["validation"] != records[1]["validation"]
    assert [dict(run.measured_on) for run in plan.runs] == records
