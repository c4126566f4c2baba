"""Tasks: the contract of each that is registered; what texts and copies are made of."""

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ablation.errors import InputError
from ablation.registry import REGISTRY
from ablation.tasks.base import IGNORED, Examples, Task
from ablation.tasks.generated.copying import Copy
from ablation.tasks.io.embedded import CORPUS_CHARACTERS, standard_library_text
from ablation.tasks.text.causal import Text

TASKS = REGISTRY["task"]
REPEATING = {"scan", "classification", "sequence_to_sequence", "modular_addition"}
"""Their examples are all there are: every epoch has the same, and only the loader's order is drawn."""
POEM = "".join(random.Random(0).choices("abc\nd é€😀", k=1500))


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    file = tmp_path / "poem.txt"
    file.write_bytes(POEM.encode())
    return file


def default(name: str) -> Task:
    task: Task = TASKS[name](name=name).build()
    return task


def same(one: Examples, other: Examples) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", TASKS)
def test_training_examples_are_a_function_of_seed_and_epoch(name: str) -> None:
    task = default(name)
    first = task.training(1, 2)
    torch.manual_seed(5)
    task.validation()
    task.training(3, 4)
    assert same(task.training(1, 2), first)
    assert same(default(name).training(1, 2), first)
    if name in REPEATING:
        assert same(task.training(1, 3), first) and same(task.training(2, 2), first)
        return
    assert not same(task.training(1, 3), first)
    assert not same(task.training(2, 2), first)
    assert not same(task.training(2, 1), first), "an epoch of one seed is another epoch of the next seed"


@pytest.mark.parametrize("name", TASKS)
def test_validation_set_is_the_same_for_all(name: str) -> None:
    task, fixed = default(name), default(name).validation()
    task.training(7, 7)
    torch.manual_seed(5)
    assert same(task.validation(), fixed)
    assert same(task.validation(), fixed)


@pytest.mark.parametrize("name", TASKS)
def test_examples_are_what_a_task_promises(name: str) -> None:
    task = default(name)
    for examples in (task.training(0, 0), task.validation()):
        tokens, targets = examples["tokens"], examples["targets"]
        assert tokens.shape == (len(tokens), task.length) and len(tokens) > 0
        assert tokens.dtype == targets.dtype == torch.long
        assert tokens.min() >= 0 and tokens.max() < task.vocabulary
        assert task.longest >= task.length
        if task.kind == "classification":
            assert targets.shape == (len(tokens),)
            assert task.n_classes and targets.min() >= 0 and targets.max() < task.n_classes
            continue
        assert task.n_classes is None
        assert targets.shape == tokens.shape
        asked = targets[targets != IGNORED]
        assert len(asked) and asked.min() >= 0 and asked.max() < task.vocabulary
        assert (targets != IGNORED).any(1).all(), "of some text nothing is asked"


@pytest.mark.parametrize("name", TASKS)
def test_primary_metric_is_measured_and_has_a_direction(name: str) -> None:
    task = default(name)
    metrics = task.metrics()
    assert "loss" in metrics and task.primary in metrics
    assert metrics[task.primary].higher_is_better == (task.better == "higher")
    assert all(metric.higher_is_better is not None for metric in metrics.values())
    assert task.describe().vocabulary == task.vocabulary


@given(length=st.integers(2, 40), validation=st.floats(0.1, 0.5), epoch=st.integers(0, 3))
def test_windows_tile_their_part_and_targets_are_the_next_tokens(
    tmp_path_factory: pytest.TempPathFactory, length: int, validation: float, epoch: int
) -> None:
    """The file counts: its byte at each place says where the place is, as far as 1,500 places have their own bytes."""
    file = tmp_path_factory.mktemp("text") / "bytes"
    content = random.Random(1).randbytes(1500)
    file.write_bytes(content)
    whole = torch.tensor(list(content))
    task = Text(path=file, level="byte", length=length, validation=validation, validation_windows=10_000)
    first = round(1500 * (1 - validation))
    training = task.training(0, epoch)
    for examples, part in ((training, whole[:first]), (task.validation(), whole[first:])):
        tokens, targets = examples["tokens"].flatten(), examples["targets"].flatten()
        start = next(s for s in range(len(part)) if torch.equal(part[s : s + len(tokens)], tokens))
        assert start < length, "the beginning of the text is left out"
        assert torch.equal(part[start + 1 : start + 1 + len(tokens)], targets)
        assert len(part) - start - len(tokens) <= length, "the end of the text is left out"
        assert start == 0 or examples is training


def test_every_position_begins_a_window_sometime(poem: Path) -> None:
    task = Text(path=poem, length=4)
    starts = [task.training(0, epoch)["tokens"][0] for epoch in range(60)]
    assert {tuple(start.tolist()) for start in starts} == {tuple(task.parts[0][s : s + 4].tolist()) for s in range(4)}


def test_training_tokens_are_spread_over_the_text_that_trains(poem: Path) -> None:
    whole, limited = (Text(path=poem, length=4, training_tokens=limit) for limit in (None, 200))
    assert same(limited.validation(), whole.validation()) and limited.vocabulary == whole.vocabulary
    tokens, kept = whole.parts[0].tolist(), limited.parts[0].tolist()
    assert len(kept) == 200
    starts = [round(number * (len(tokens) - 50) / 3 - 0.5) for number in range(4)]  # four pieces of at most 64
    pieces = [kept[number : number + 50] for number in range(0, 200, 50)]
    assert all(
        piece in (tokens[start : start + 50], tokens[start + 1 : start + 51])
        for piece, start in zip(pieces, starts, strict=True)
    )
    assert same(Text(path=poem, length=4, training_tokens=10**6).training(0, 0), whole.training(0, 0))


def test_characters_are_numbered_in_order_of_their_code_points(poem: Path) -> None:
    task = Text(path=poem, length=8)
    alphabet = sorted(set(POEM))
    assert task.vocabulary == len(alphabet) == 9
    assert task.encoded[0].tolist() == [alphabet.index(character) for character in POEM]


def test_characters_only_in_the_last_part_are_in_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ab" * 225 + "vwxyz" * 10)
    task = Text(path=tmp_path / "text", length=4)
    assert task.vocabulary == 7
    assert task.parts[0].unique().tolist() == [0, 1] and task.parts[1].unique().tolist() == [2, 3, 4, 5, 6]


def test_bytes_are_themselves(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4
    (tmp_path / "binary").write_bytes(content)
    task = Text(path=tmp_path / "binary", level="byte", length=8)
    assert task.vocabulary == 256
    assert task.encoded[0].tolist() == list(content)
    assert "bits_per_byte" in task.metrics() and "bits_per_character" not in task.metrics()


def test_validation_windows_are_spread_over_the_whole_last_part(poem: Path) -> None:
    everything = Text(path=poem, length=8, validation=0.5, validation_windows=1000).validation()["tokens"]
    for n_windows in (1, 2, 10, len(everything)):
        task = Text(path=poem, length=8, validation=0.5, validation_windows=n_windows)
        chosen = task.validation()["tokens"]
        places = [int((everything == window).all(1).nonzero()[0]) for window in chosen]
        assert len(set(places)) == n_windows and places == sorted(places)
        assert places[0] == 0 and (n_windows == 1 or places[-1] == len(everything) - 1)
        gaps = [after - before for before, after in pairwise(places)]
        assert max(gaps, default=0) - min(gaps, default=0) <= 1


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize(
    ("characters", "validation", "part"), [(0, 0.1, "training"), (164, 0.1, "validation"), (200, 0.95, "training")]
)
def test_text_below_the_minimum_is_refused_in_one_line(
    level: Any, characters: int, validation: float, part: str, tmp_path: Path
) -> None:
    """Of 164 tokens 16 validate, and windows of 8 tokens need 2 x 8 + 1."""
    file = tmp_path / "short.txt"
    file.write_text("x" * characters)
    task = Text(path=file, level=level, length=8, validation=validation)
    for use in (task.validation, lambda: task.training(0, 0)):
        why = rf"short\.txt leaves \d+ tokens for {part}; .* needs at least 17"
        with pytest.raises(InputError, match=why) as raised:
            use()
        assert "\n" not in str(raised.value)


def test_text_of_minimum_length_gives_two_validation_windows(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x" * 170)
    assert len(Text(path=tmp_path / "text", length=8).validation()["tokens"]) == 2


def test_unreadable_text_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9 " * 100)
    for name, why in (("nowhere", "there is no file"), (".", "is not a file"), ("latin", "is not UTF-8 at byte 3")):
        with pytest.raises(InputError, match=f"^task.path: .*{why}") as raised:
            Text(path=tmp_path / name, length=8).validation()
        assert "\n" not in str(raised.value)
    assert Text(path=tmp_path / "latin", level="byte", length=8).vocabulary == 256


def test_fingerprint_depends_on_content_not_on_path(poem: Path, tmp_path: Path) -> None:
    copy, changed = tmp_path / "copy", tmp_path / "changed"
    copy.write_bytes(poem.read_bytes())
    changed.write_bytes(poem.read_bytes()[:-1] + b"!")
    prints = [Text(path=path, length=8).fingerprint() for path in (poem, copy, changed)]
    assert prints[0] == prints[1] != prints[2]


def test_embedded_corpus_is_fixed_real_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = standard_library_text()
    assert text == standard_library_text() and text.isascii() and "\r" not in text
    assert 500_000 < len(text) <= CORPUS_CHARACTERS
    assert "\nimport " in text and "\ndef " in text
    assert Text().fingerprint() == Text().fingerprint() != Text(path=_written(tmp_path, text[:-1])).fingerprint()
    assert Text().fingerprint() == Text(path=_written(tmp_path, text)).fingerprint()


def test_corpus_is_independent_of_the_order_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    for name in "bca":
        (tmp_path / f"{name}.py").write_text(f"# {name} é\r\n", newline="")
    (tmp_path / "notes.txt").write_text("no")
    assert standard_library_text() == "# a \n# b \n# c \n"
    for file in tmp_path.glob("*.py"):
        file.unlink()
    with pytest.raises(InputError, match="no sources"):
        standard_library_text()


def _written(folder: Path, text: str) -> Path:
    file = folder / "corpus.txt"
    file.write_text(text)
    return file


@given(symbols=st.integers(2, 20), half=st.integers(1, 10))
def test_copy_is_marked_by_a_separator(symbols: int, half: int) -> None:
    """Each target stands ``half`` places before its own token: a rule without parameters solves the task."""
    task = Copy(symbols=symbols, length=2 * half, epoch_examples=20, validation_examples=5)
    for examples, n_examples in ((task.training(0, 0), 20), (task.validation(), 5)):
        tokens, targets = examples["tokens"], examples["targets"]
        assert tokens.shape == (n_examples, 2 * half)
        assert (targets[:, :half] == IGNORED).all()
        assert torch.equal(targets[:, half:], tokens[:, :half])
        assert (tokens[:, half] == symbols).all() and (tokens == symbols).sum() == n_examples
        assert torch.equal(targets[:, half:-1], tokens[:, half + 1 :])
    assert task.vocabulary == symbols + 1


def test_all_symbols_are_copied_about_equally_often() -> None:
    symbols = Copy(symbols=4, length=32).training(0, 0)["tokens"][:, :16]
    shares = symbols.flatten().bincount(minlength=4) / symbols.numel()
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_training_does_not_repeat_the_validation_set() -> None:
    task = Copy(length=32)
    seen = {tuple(text) for text in task.training(0, 0)["tokens"].tolist()}
    assert not seen & {tuple(text) for text in task.validation()["tokens"].tolist()}
