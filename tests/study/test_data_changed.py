"""A run learns from what it was planned on, or it is not trained, whatever happens to the files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import all_numbers, plan_of, write_grid

import ablation
from ablation.cli.common import SOME_FAILED, exit_code
from ablation.errors import InputError
from ablation.store.results import RunEnd
from ablation.store.runs import Store
from ablation.tasks.classification import Classification
from ablation.tasks.sequence_to_sequence import SequenceToSequence
from ablation.tasks.text.causal import Text
from ablation.tasks.unchanged import DataChangedError, check_unchanged, file_states
from ablation.training.attempt import train_order

POEM = "a rose is a rose\n" * 60
TEXT_TASK = {"name": "text", "length": 8, "batch_size": 4, "validation_windows": 4}


def write_table(folder: Path, name: str, changed: str = "yes") -> Path:
    file = folder / name
    file.write_text("text,class\n" + "".join(f"word{n} more,{changed if n % 2 else 'no'}\n" for n in range(30)))
    return file


def grid_of_text(folder: Path, text: Path, factors: dict[str, list[Any]] | None = None) -> Path:
    blocks = {"model.block": ["pre_norm", "post_norm", "sandwich"]}
    return write_grid(folder, factors or blocks, {"task": {**TEXT_TASK, "path": str(text)}})


class Rewrite:
    """A listener that writes the file anew as soon as the first run has ended."""

    def __init__(self, file: Path, content: str):
        self.file, self.content = file, content
        self.ends: list[RunEnd] = []

    def __call__(self, plan: Any, store: Any, n_runs: int, workers: int) -> "Rewrite":
        return self

    def __enter__(self) -> "Rewrite":
        return self

    def __exit__(self, *_: object) -> None: ...
    def started(self, run: Any) -> None: ...
    def tick(self) -> None: ...
    def ended(self, run: Any, end: RunEnd, again: bool) -> None:
        self.ends.append(end)
        self.file.write_text(self.content)


def test_runs_whose_data_changed_are_missing_and_trained_once_they_are_back(tmp_path: Path) -> None:
    text = tmp_path / "poem.txt"
    text.write_text(POEM)
    grid = grid_of_text(tmp_path, text)
    study, listener = ablation.Study(grid, runs=tmp_path / "runs"), Rewrite(text, POEM.upper())
    summary = study.run(workers=1, listener=listener)
    assert (summary.completed, summary.missing, summary.executed, summary.failed) == (1, 2, 1, 0)
    assert exit_code(summary) == SOME_FAILED
    ends = [end.status for end in listener.ends]
    assert ends == ["completed", "missing", "missing"]
    reason = listener.ends[1].reason
    assert reason is not None and "\n" not in reason
    assert reason.startswith(f"task.path: {text} has changed since this was planned: sha256 ")
    assert reason in summary.comparison.cells[1].results[0].reason  # type: ignore[operator]
    assert reason in ablation.load(tmp_path / "runs" / "small").table()

    text.write_text(POEM)
    again = study.run(workers=1)
    assert (again.cached, again.executed, again.completed, again.missing) == (1, 2, 3, 0)
    assert exit_code(again) == 0
    undisturbed = ablation.Study(grid, runs=tmp_path / "quiet")
    undisturbed.run(workers=2)
    assert all_numbers(tmp_path / "runs") == all_numbers(tmp_path / "quiet")


def test_a_file_that_is_gone_leaves_its_runs_missing(tmp_path: Path) -> None:
    text = tmp_path / "poem.txt"
    text.write_text(POEM)
    run = plan_of(grid_of_text(tmp_path, text)).runs[0]
    store = Store(tmp_path / "runs")
    text.unlink()
    ended = train_order(store.order(run))
    assert ended.how == "given_up"
    end = store.end(run.id)
    assert end.status == "missing"
    assert end.reason == f"task.path: there is no file {text}; it could be used when this was planned"
    assert store.to_train([run]) == [run]
    assert store.rows(run.id) == [], "nothing was trained"


def test_a_run_learns_from_the_bytes_that_were_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes right after the comparison does not reach the run."""
    from ablation.training import attempt

    text = tmp_path / "poem.txt"
    text.write_text(POEM)
    run = plan_of(grid_of_text(tmp_path, text)).runs[0]
    undisturbed, disturbed = Store(tmp_path / "one"), Store(tmp_path / "two")
    train_order(undisturbed.order(run))

    def check_and_change(*arguments: Any) -> None:
        check_unchanged(*arguments)
        text.write_text("b" * len(POEM))

    monkeypatch.setattr(attempt, "check_unchanged", check_and_change)
    train_order(disturbed.order(run))
    finals = [
        json.loads((store.directory(run.id) / "result.json").read_text())["quality"]["final"]
        for store in (undisturbed, disturbed)
    ]
    assert finals[0] == finals[1]


def learned_tokenizer(folder: Path) -> Path:
    from ablation.tasks.io.tokens import learn_byte_pairs

    file = folder / "tokenizer.json"
    learn_byte_pairs([POEM], 280).save(str(file))
    return file


def tasks(folder: Path) -> Iterator[tuple[Any, str, Path]]:
    """Tasks with each kind of file, and the file with the name of its hyper-parameter."""
    text = folder / "poem.txt"
    text.write_text(POEM)
    tokenizer = learned_tokenizer(folder)
    train, test = write_table(folder, "train.csv"), write_table(folder, "test.csv")
    yield lambda: Text(path=text, length=8), "task.path", text
    words = {"level": "bpe", "tokenizer": tokenizer, "max_vocabulary": 300, "length": 8}
    yield lambda: Text(path=text, **words), "task.tokenizer", tokenizer
    yield lambda: Classification(path=train, validation_path=test), "task.path", train
    yield lambda: Classification(path=train, validation_path=test), "task.validation_path", test
    columns = {"source_column": "text", "target_column": "class"}
    yield lambda: SequenceToSequence(path=train, **columns), "task.path", train
    yield lambda: SequenceToSequence(path=train, validation_path=test, **columns), "task.validation_path", test


@pytest.mark.parametrize("number", range(6))
def test_every_file_of_a_task_is_compared_and_named(number: int, tmp_path: Path) -> None:
    make, field, file = list(tasks(tmp_path))[number]
    planned = make()
    fingerprint, states = planned.fingerprint(), file_states(planned)
    check_unchanged(make(), fingerprint, states)
    content = file.read_bytes()
    file.write_bytes(content + (b" " if file.suffix == ".json" else b"word9 more,no\n"))
    with pytest.raises(DataChangedError, match=rf"^{field}: {file} has changed .* bytes then, .* now$") as raised:
        check_unchanged(make(), fingerprint, states)
    assert f"{len(content):,} bytes then" in str(raised.value)
    with pytest.raises(DataChangedError, match=r"^task: its data have changed since this was planned$"):
        check_unchanged(make(), fingerprint, {})
    file.unlink()
    with pytest.raises(DataChangedError, match=rf"^{field}: there is no file .*; it could be used when"):
        check_unchanged(make(), fingerprint, states)
    assert planned.fingerprint() == fingerprint, "what was read once is not read again"
    planned.training(0, 0), planned.validation()


def test_another_python_is_named_where_the_corpus_is_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Text(length=8)
    planned, states = task.fingerprint(), file_states(task)
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    monkeypatch.setattr("ablation.tasks.io.embedded.standard_library_text", lambda: "other = 1\n" * 500)
    with pytest.raises(DataChangedError, match=r"standard library of Python 3.99.1 is not what this was planned on"):
        check_unchanged(Text(length=8), planned, states)


def test_generated_data_are_always_what_was_planned(tmp_path: Path) -> None:
    plan = plan_of(write_grid(tmp_path))
    assert plan.runs[0].data == {}
    check_unchanged(plan.runs[0].config.task.build(), None, {})


def test_text_of_a_run_is_refused_with_the_same_words(tmp_path: Path) -> None:
    from ablation.study.generation import TrainedRun

    text = tmp_path / "poem.txt"
    text.write_text(POEM)
    run = plan_of(grid_of_text(tmp_path, text)).runs[0]
    store = Store(tmp_path / "runs")
    train_order(store.order(run))
    text.write_text(POEM + "more\n")
    with pytest.raises(
        InputError, match=rf"^run {run.id[:12]}: .*task.path: {text} has changed since this was planned"
    ):
        TrainedRun(store, run.id)
