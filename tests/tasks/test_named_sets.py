"""Named sets: further files with scores of their own, and scores by the values of a column."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ROOT
from support.small_grids import Ablate, one_line, output, plan_of, small_config, write_grid
from torch.nn.functional import cross_entropy

from ablation.components.architecture.base import call_model
from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.model.weights import load_weights
from ablation.tasks.base import Task, model_inputs
from ablation.tasks.classification import Classification
from ablation.tasks.sequence_to_sequence import SequenceToSequence
from ablation.tasks.text.causal import Text
from ablation.tasks.unchanged import DataChangedError, check_unchanged, file_states
from ablation.training.run import train

SCAN = Path(os.environ.get("ABLATION_DATA", ROOT.parent / "shared" / "data")) / "scan"


def write_rows(file: Path, rows: int, kinds: str = "ab", start: int = 0) -> Path:
    lines = [f"word{n % 7} word{n % 3} x,{n % 2},{kinds[n % len(kinds)]}" for n in range(start, start + rows)]
    file.write_text("\n".join(["text,class,kind", *lines]) + "\n")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.csv", 60)
    write_rows(tmp_path / "easy.csv", 9, "a", 100)
    write_rows(tmp_path / "hard.csv", 14, "cd", 200)
    return tmp_path


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    sets = {"test_sets": {"hard": str(folder / "hard.csv")}, "validation_sets": {"easy": str(folder / "easy.csv")}}
    task = {"name": "classification", "path": str(folder / "rows.csv"), "length": 16, "batch_size": 4}
    return {"model.architecture": "encoder", "task": {**task, "level": "word", "score_by": "kind", **sets, **more}}


def task_of(folder: Path, **more: Any) -> Classification:
    task: Classification = small_config(settings(folder, **more)).task.build()
    return task


def outputs(config: Any, directory: Path, examples: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The logits of a trained model."""
    task: Task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    load_weights(model, directory / "weights.safetensors")
    with torch.no_grad():
        logits: torch.Tensor = call_model(model.eval(), model_inputs(dict(examples)))
    return logits


def test_every_set_and_every_value_has_the_scores_of_its_own_rows(folder: Path) -> None:
    config = small_config(settings(folder))
    final = train(config, folder)["quality"]["final"]
    sets = {**task_of(folder).further_validation(), **task_of(folder).final_sets()}
    values = ["validation:a", "validation:b", "easy:a", "hard:c", "hard:d"]
    assert list(sets) == ["easy", "hard", *values]
    for name, examples in sets.items():
        logits = outputs(config, folder, examples)
        expected = cross_entropy(logits, examples["targets"])
        assert final[f"loss@{name}"] == pytest.approx(float(expected), rel=1e-5)
        accuracy = (logits.argmax(-1) == examples["targets"]).float().mean()
        assert final[f"accuracy@{name}"] == pytest.approx(float(accuracy))


def test_test_sets_are_scored_after_the_last_step_alone(folder: Path) -> None:
    quality = train(small_config(settings(folder)), folder)["quality"]
    rows = (folder / "metrics.jsonl").read_text()
    assert "validation/loss@easy" in rows and "@hard" not in rows
    assert "loss@easy" in quality["best"] and "loss@hard" not in quality["best"]
    assert (quality["directions"]["accuracy@hard"], quality["directions"]["loss@hard:c"]) == ("higher", "lower")


def test_sets_change_no_other_number(folder: Path) -> None:
    plain = settings(folder, test_sets={}, validation_sets={}, score_by=None)
    for name in ("with", "without"):
        (folder / name).mkdir()
    with_sets = train(small_config(settings(folder)), folder / "with")["quality"]["final"]
    without = train(small_config(plain), folder / "without")["quality"]["final"]
    assert {name: with_sets[name] for name in without} == without


def test_sets_are_part_of_the_fingerprint_and_none_changes_it_by_its_absence(folder: Path) -> None:
    none = {"test_sets": {}, "validation_sets": {}}
    plain, path = task_of(folder, **none), folder / "rows.csv"
    assert plain.fingerprint() == Classification(path=path, level="word", length=16).fingerprint()
    named = {task_of(folder).fingerprint(), task_of(folder, validation_sets={}).fingerprint()}
    renamed = task_of(folder, test_sets={"other": str(folder / "hard.csv")}, validation_sets={}).fingerprint()
    before = task_of(folder, validation_sets={}).fingerprint()
    write_rows(folder / "hard.csv", 15, "cd", 200)
    assert len({plain.fingerprint(), *named, renamed, task_of(folder, validation_sets={}).fingerprint()}) == 5
    assert before in named


def test_a_set_that_changed_since_planning_is_named(folder: Path) -> None:
    task = task_of(folder)
    planned, fingerprint = file_states(task), task.fingerprint()
    check_unchanged(task_of(folder), fingerprint, planned)
    write_rows(folder / "hard.csv", 15, "cd", 200)
    with pytest.raises(DataChangedError, match=r"task.test_sets.hard: .*hard.csv has changed since this was planned"):
        check_unchanged(task_of(folder), fingerprint, planned)


def test_measures_of_a_set_are_about_its_examples(folder: Path) -> None:
    before = task_of(folder).measured_on()
    write_rows(folder / "hard.csv", 16, "cd", 200)
    after = task_of(folder).measured_on()
    assert [name for name in before["further"] if before["further"][name] != after["further"][name]] == [
        *("hard", "hard:c", "hard:d")
    ]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"test_sets": {"easy": "easy.csv"}}, r"task.test_sets: 'easy' is the name of one of task.validation_sets too"),
        ({"test_sets": {"validation": "hard.csv"}}, r"task.test_sets: 'validation' is what the usual"),
        ({"test_sets": {"none": "none.csv"}}, r"task.test_sets.none: there is no file .*none.csv"),
        ({"score_by": "knd"}, r"task.score_by: .*rows.csv has no column 'knd'; .*did you mean 'kind'"),
        ({"score_by": 3}, r"task.text_column, task.class_column, task.score_by: must be all names or all numbers"),
        ({"text_column": 1, "class_column": 2, "score_by": 0}, r"task.score_by: must be at least 1.* not 0"),
        ({"score_by": "text", "test_sets": {"many": "many.csv"}}, r"task.score_by: the column has 120 values"),
        ({"test_sets": {"new": "new.csv"}}, r"task.class_column: .*new.csv:2: class '9' has no training row"),
    ],
)
def test_what_is_wrong_with_a_set_is_one_line(folder: Path, more: dict[str, Any], message: str) -> None:
    many = [f"word{n},0,a" for n in range(120)]
    (folder / "many.csv").write_text("\n".join(["text,class,kind", *many]))
    (folder / "new.csv").write_text("text,class,kind\nx,9,a\n")
    sets = {name: str(folder / file) for name, file in more.get("test_sets", {"hard": "hard.csv"}).items()}
    with pytest.raises(InputError, match=message):
        task_of(folder, **{**more, "test_sets": sets}).fingerprint()


def test_patterns_name_what_is_scored_by(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(
        "".join(f"IN: {verb} {n} OUT: {n}\n" for n in range(10) for verb in ("go", "do"))
    )
    pattern = r"IN: (?P<source>(?P<verb>\w+).*) OUT: (?P<target>.*)"
    task = SequenceToSequence(path=tmp_path / "pairs.txt", pattern=pattern, score_by="verb", validation=0.5)
    counts = {name: len(examples["targets"]) for name, examples in task.final_sets().items()}
    assert counts.keys() == {"validation:do", "validation:go"} and sum(counts.values()) == 10
    with pytest.raises(InputError, match=r"task.score_by: task.pattern has no group \(\?P<kind>...\)"):
        SequenceToSequence(path=tmp_path / "pairs.txt", pattern=pattern, score_by="kind").fingerprint()


def test_texts_have_bits_per_character_of_their_own_ratio(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat \n" * 200)
    (tmp_path / "long.txt").write_text("the the the the the the a\n" * 30)
    task = {"name": "text", "path": str(tmp_path / "text.txt"), "level": "word", "length": 8, "batch_size": 4}
    config = small_config({"task": {**task, "test_sets": {"long": str(tmp_path / "long.txt")}}})
    final = train(config, tmp_path)["quality"]["final"]
    text: Text = config.task.build()
    examples = text.final_sets()["long"]
    loss = cross_entropy(outputs(config, tmp_path, examples).flatten(0, 1), examples["targets"].flatten())
    assert final["loss@long"] == pytest.approx(float(loss), rel=1e-5)
    n_tokens = 8 * 30  # seven words and the end of the line
    bits = float(loss) / torch.log(torch.tensor(2.0)) * n_tokens / len((tmp_path / "long.txt").read_text())
    assert final["bits_per_character@long"] == pytest.approx(float(bits), rel=1e-5)


def test_characters_of_a_text_that_no_token_stands_for_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc " * 200)
    (tmp_path / "other.txt").write_text("abz " * 200)
    task = Text(path=tmp_path / "text.txt", length=8, test_sets={"other": tmp_path / "other.txt"})
    with pytest.raises(InputError, match=r"task.test_sets.other: .*other.txt: character 'z' is not among the 4"):
        task.fingerprint()


def test_the_table_has_the_sets_side_by_side(folder: Path, ablate: Ablate) -> None:
    relative = settings(folder)
    relative["task"] |= {"test_sets": {"hard": "hard.csv"}, "validation_sets": {"easy": "easy.csv"}, "path": "rows.csv"}
    file = write_grid(folder, settings=relative)
    assert set(plan_of(file).runs[0].data) == {"task.path", "task.validation_sets.easy", "task.test_sets.hard"}
    output(ablate("run", file, "--workers", "1"))
    lines = output(ablate("table", "small", "--by-set")).splitlines()
    assert [line.split()[0] for line in lines if "hard" in line] == ["hard", "hard:c", "hard:d"]
    metrics = json.loads(output(ablate("table", "small", "--json")))["cells"][1]["metrics"]
    assert metrics["accuracy@hard:c"]["delta"] is not None
    assert "accuracy@hard" in output(ablate("table", "small", "--format", "csv"))
    by_hard = json.loads(output(ablate("table", "small", "--json", "--metric", "accuracy@hard")))
    assert by_hard["metric"] == "accuracy@hard"


def test_a_table_without_named_sets_says_so(tmp_path: Path, ablate: Ablate) -> None:
    file = write_grid(tmp_path)
    output(ablate("run", file, "--workers", "1"))
    assert "has no named sets" in one_line(ablate("table", "small", "--by-set"))


@pytest.mark.skipif(not SCAN.is_dir(), reason="SCAN is not here: set ABLATION_DATA")
def test_splits_of_scan_are_read_whole() -> None:
    task = SequenceToSequence(
        path=SCAN / "tasks_train_addprim_jump.txt",
        pattern="IN: (?P<source>.*) OUT: (?P<target>.*)",
        level="word",
        length=50,
        test_sets={"jump": SCAN / "tasks_test_addprim_jump.txt", "length": SCAN / "tasks_test_length.txt"},
    )
    assert {name: len(examples["targets"]) for name, examples in task.final_sets().items()} == {
        "jump": 7706,
        "length": 3920,
    }


@pytest.mark.parametrize("level", ["char", "byte"])
def test_line_ends_of_a_named_text_change_no_ratio(level: Any, tmp_path: Path) -> None:
    text = "the cat\n" * 60
    (tmp_path / "text.txt").write_text(text * 5)
    (tmp_path / "unix.txt").write_bytes(text.encode())
    (tmp_path / "windows.txt").write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    sets = {name: tmp_path / f"{name}.txt" for name in ("unix", "windows")}
    task = Text(path=tmp_path / "text.txt", level=level, length=8, validation_sets=sets)
    unix, windows = (task.texts_by_name[name] for name in sets)
    assert unix.characters == windows.characters == len(text) and torch.equal(unix.ids, windows.ids)
