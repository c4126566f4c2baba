"""Cells that were not measured on the same: refused, or run without a verdict on quality."""

import re
from pathlib import Path
from typing import Any

import pytest
from support.plans import BASE_YAML, plan

from ablation.errors import InputError

WORDS = "the cat saw a dog and the dog saw the cat ; a dog ran off , the cat ran too .\n"
TEXT = "task: {name: text, path: text.txt, length: 8, batch_size: 4, validation_windows: %d}"


def of_text(folder: Path, factor: str, n_windows: int = 10_000, text: str = WORDS * 300, allow: str = "") -> Any:
    (folder / "text.txt").write_text(text)
    base = re.sub("task: .*", TEXT % n_windows, BASE_YAML)
    return plan(folder, f"name: g\nbase: base.yaml\nfactors:\n  {factor}\nseeds: 1\n{allow}", base=base)


def refusal(folder: Path, *args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        of_text(folder, *args, **options)
    return str(caught.value).removeprefix(f"{folder}/")


def test_other_tokens_of_one_text_have_bits_per_character_in_common(tmp_path: Path) -> None:
    cells = of_text(tmp_path, "task.level: [char, word]").manifest()["cells"]
    about = [cell["measured_on"] for cell in cells]
    assert about[0]["unit"] != about[1]["unit"] and about[0]["text"] == about[1]["text"] is not None


def test_other_tokens_over_other_parts_of_the_text_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "task.level: [char, word]", n_windows=4)
    assert message.startswith("grid.yaml:4:22: level=word has no measure of quality in common with the baseline: ")
    assert "another unit" in message and "task.validation_windows: " in message and "\n" not in message
    assert message.endswith("`allow: [unit, validation]` runs it")


def test_other_validation_windows_are_refused_unless_allowed(tmp_path: Path) -> None:
    factor = "task.validation_windows: [4, 8]"
    assert "other validation examples" in refusal(tmp_path, factor)
    assert len(of_text(tmp_path, factor, allow="allow: [validation]\n").cells) == 2
    assert "'validatoin' is nothing that can be allowed here" in refusal(
        tmp_path, factor, allow="allow: [validation, validatoin]\n"
    )


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ("[{name: copy, symbols: 4, length: 8, batch_size: 4}, {name: sort, symbols: 4, length: 8, batch_size: 4}]",
         "another task (sort, baseline copy)"),
        ("[{name: copy, symbols: 4, length: 8, batch_size: 4}, {name: copy, symbols: 9, length: 8, batch_size: 4}]",
         "another unit"),
    ],
)  # fmt: skip
def test_other_tasks_and_vocabularies_are_refused(tmp_path: Path, levels: str, reason: str) -> None:
    with pytest.raises(InputError, match="no measure of quality in common") as caught:
        plan(tmp_path, f"name: g\nbase: base.yaml\nfactors:\n  task: {levels}\nseeds: 1\n")
    assert reason in str(caught.value)


def test_settings_of_training_alone_change_no_measure(tmp_path: Path) -> None:
    for factor in ("task.batch_size: [4, 8]", "training.label_smoothing: [0.0, 0.1]", "model.position: [rope, none]"):
        assert len(of_text(tmp_path, factor).cells) == 2
