"""Rows and texts that Hugging Face's `datasets` has saved on this disk, read as it would give them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from ablation.errors import InputError
from ablation.tasks.classification import Classification
from ablation.tasks.io.rows import read_rows
from ablation.tasks.sequence_to_sequence import SequenceToSequence
from ablation.tasks.text.causal import Text

FIELDS = ("task.path", "task.text_column", "task.class_column")
ROWS = [(f"möwe {n} and\n{'more ' * (n % 3)}", ("no", "yes")[n % 2]) for n in range(40)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the splits `train` and `test`, and the first of them as a Parquet file; classes are numbers."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("saved")
    kinds = {"text": datasets.Value("string"), "class": datasets.ClassLabel(names=["no", "yes"])}
    kinds |= {"number": datasets.Value("int32"), "list": datasets.List(datasets.Value("int32"))}
    columns: dict[str, Any] = {"text": [text for text, _ in ROWS], "class": [int(name == "yes") for _, name in ROWS]}
    columns |= {"number": list(range(40)), "list": [[n] for n in range(40)]}
    whole = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    splits = datasets.DatasetDict(train=whole, test=whole.select(range(9, 20)))
    splits.save_to_disk(folder / "both")
    whole.save_to_disk(folder / "shards", num_shards=3)
    whole.to_parquet(folder / "whole.parquet")
    return folder


@pytest.mark.parametrize("name", ["both/train", "shards", "whole.parquet"])
def test_rows_are_read_as_saved_with_names_of_classes(name: str, saved: Path) -> None:
    rows = read_rows(saved / name, ("text", "class"), None, FIELDS)
    assert [(row.first, row.second) for row in rows] == ROWS
    assert [row.line for row in rows] == list(range(1, 41))
    assert read_rows(saved / name, ("number", "class"), None, FIELDS)[7].first == "7"


def test_split_that_was_selected_holds_its_rows_alone(saved: Path) -> None:
    rows = read_rows(saved / "both" / "test", ("text", "class"), None, FIELDS)
    assert [(row.first, row.second) for row in rows] == ROWS[9:20]


def test_task_of_saved_dataset_is_task_of_its_rows_in_table(saved: Path, tmp_path: Path) -> None:
    import csv

    for name, rows in (("a.csv", ROWS), ("b.csv", ROWS[9:20])):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "class"), *rows])
    from_tables = Classification(path=tmp_path / "a.csv", validation_path=tmp_path / "b.csv", length=6)
    from_disk = Classification(path=saved / "both" / "train", validation_path=saved / "both" / "test", length=6)
    for one, other in ((from_tables.training(0, 0), from_disk.training(0, 0)),
                       (from_tables.validation(), from_disk.validation())):  # fmt: skip
        assert all((one[key] == other[key]).all() for key in one)
    pairs = SequenceToSequence(path=saved / "whole.parquet", source_column="number", target_column="text", length=24)
    assert len(pairs.rows[0]) == 36 and pairs.fingerprint()


def test_text_is_one_line_per_row_of_its_column(saved: Path) -> None:
    text = "".join(text if text.endswith("\n") else f"{text}\n" for text, _ in ROWS)
    for name in ("both/train", "whole.parquet"):
        assert Text(path=saved / name, length=4).text == text


def test_fingerprint_depends_on_rows_not_on_their_files(saved: Path) -> None:
    prints = [Classification(path=saved / name).fingerprint() for name in ("both/train", "shards")]
    assert prints[0] == prints[1]
    test = Classification(path=saved / "both" / "test", validation=0.3)
    assert test.fingerprint() != prints[0]


@pytest.mark.parametrize(
    ("name", "hyper", "why"),
    [
        ("both", {}, r"task.path: .*both has the splits train, test; use the folder of one, such as .*both/train$"),
        ("", {}, r"task.path: .* is not a file; expected a table, or a folder that `save_to_disk` of datasets wrote$"),
        ("x" * 300, {}, r"task.path: .*: File name too long$"),
        ("nowhere.parquet", {}, r"task.path: there is no file .*nowhere.parquet"),
        ("shards", {"text_column": "txt"}, r"task.text_column: .* no column 'txt'; it has text, .*did you mean 'text'"),
        ("shards", {"class_column": "list"}, r"task.class_column: .*shards:1: 'list' must be a string or a whole"),
    ],
)
def test_invalid_saved_dataset_is_refused_in_one_line(name: str, hyper: dict[str, Any], why: str, saved: Path) -> None:
    with pytest.raises(InputError, match=why) as raised:
        Classification(path=saved / name, **hyper).fingerprint()
    assert "\n" not in str(raised.value)


def test_folder_that_lost_a_file_is_refused_in_one_line(saved: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(saved / "shards", tmp_path / "shards")
    next((tmp_path / "shards").glob("*.arrow")).unlink()
    with pytest.raises(InputError, match=r"task.path: .*shards cannot be read: ") as raised:
        Classification(path=tmp_path / "shards").fingerprint()
    assert "\n" not in str(raised.value)


def test_missing_package_names_what_to_install(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    for path in (saved / "shards", saved / "whole.parquet"):
        for task in (Classification(path=path), Text(path=path)):
            with pytest.raises(InputError, match="needs the package datasets, the extra `datasets` of this package"):
                task.fingerprint()


def test_package_is_imported_only_when_needed_and_stays_offline(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,class\n" + "a,x\nb,y\n" * 9)
    code = """
import socket, sys
from pathlib import Path
def refuse(*arguments): raise AssertionError("asked the network")
socket.getaddrinfo = socket.socket.connect = refuse
from ablation.tasks.classification import Classification
Classification(path=Path(sys.argv[1])).fingerprint()
assert "datasets" not in sys.modules and "pyarrow" not in sys.modules
for path in sys.argv[2:]:
    print(Classification(path=Path(path)).fingerprint())
import datasets
assert datasets.config.HF_DATASETS_OFFLINE
"""
    command = [sys.executable, "-c", code, *map(str, (tmp_path / "a.csv", saved / "shards", saved / "whole.parquet"))]
    cache = {"HF_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **cache})
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2 and done.stderr == ""
    assert not [path for path in tmp_path.rglob("*.arrow") if path.is_file()], "nothing is copied into a cache"
