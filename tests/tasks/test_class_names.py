"""Classes that a reader would take for one are refused with both places, unless they are said to be meant."""

from pathlib import Path
from typing import Any

import pytest

from ablation.config.identity import identity_fields
from ablation.errors import InputError
from ablation.registry import REGISTRY
from ablation.tasks.classification import Classification

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
SAME = {
    "trailing blank": ("yes", "yes ", "only by blanks"),
    "blank inside": ("lost card", "lost  card", "only by blanks"),
    "no-break space": ("lost card", "lost\u00a0card", "only by blanks"),
    "letter case": ("yes", "Yes", "only by letter case"),
    "sharp s": ("stra\u00dfe", "STRASSE", "only by letter case"),
    "composed": (COMPOSED, DECOMPOSED, "only by Unicode normalization"),
    "full width": ("A1", "\uff21\uff11", "only by Unicode normalization"),
    "invisible": ("yes", "y\u200bes", "invisible characters"),
    "cyrillic": ("A", "\u0410", "only by letters that look alike"),
    "greek": ("BETA", "\u0392\u0395\u03a4\u0391", "only by letters that look alike"),
    "dash": ("a-b", "a\u2013b", "only by letters that look alike"),
    "number": ("1", "1.0", "only by how a number is written"),
    "leading zero": ("7", "07", "only by how a number is written"),
    "several at once": ("lost card", " Lost\u00a0Card", "only by blanks, letter case and letters that look alike"),
}


def table(folder: Path, *classes: str, name: str = "a.tsv") -> Path:
    file = folder / name
    rows = [f"word{n}\t{label}\n" for n in range(4) for label in classes]
    file.write_text("text\tclass\n" + "".join(rows))
    return file


def refused(file: Path, **options: Any) -> str:
    with pytest.raises(InputError, match=r"^task\.class_column: ") as raised:
        Classification(path=file, **options).fingerprint()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("case", SAME)
def test_names_that_differ_only_in_writing_are_refused(case: str, tmp_path: Path) -> None:
    one, other, why = SAME[case]
    file = table(tmp_path, "third", one, other)
    message = refused(file, validation_path=file)
    assert f"{file}:4: class " in message and f"({file}:3) " in message, "where each is first"
    assert why in message and message.endswith("or set task.class_names: as_written")
    assert Classification(path=file, validation_path=file, class_names="as_written").n_classes == 3


@pytest.mark.parametrize(
    "classes", [("yes", "no"), ("1", "10"), ("a", "b"), ("lost card", "lost cards"), ("-1", "1"), ("x1", "x01")]
)
def test_names_that_differ_are_classes(classes: tuple[str, ...], tmp_path: Path) -> None:
    assert Classification(path=table(tmp_path, *classes)).classes == sorted(classes)


def test_an_empty_name_is_refused_with_its_line(tmp_path: Path) -> None:
    file = table(tmp_path, "x", "y", "")
    assert f"{file}:4: the class is empty; name it" in refused(file, validation_path=file)
    assert f"{table(tmp_path, 'x', 'y', ' ')}:4: the class is empty" in refused(file, validation_path=file)


@pytest.mark.parametrize("classes", [("0", "1", "-1"), ("no", "yes", "-1")])
def test_rows_without_a_label_are_refused_with_their_line(classes: tuple[str, ...], tmp_path: Path) -> None:
    file = table(tmp_path, *classes)
    assert f"{file}:4: class -1 marks a row without a label; remove such rows" in refused(file, validation_path=file)
    assert Classification(path=file, class_names="as_written").n_classes == 3


def test_unlabeled_rows_of_the_validation_file_are_refused(tmp_path: Path) -> None:
    test = table(tmp_path, "-1", name="test.tsv")
    message = refused(table(tmp_path, "0", "1"), validation_path=test)
    assert f"{test}:2: class -1 marks a row without a label" in message


def test_validation_class_in_another_writing_names_both_files(tmp_path: Path) -> None:
    train, test = table(tmp_path, "yes", "no"), table(tmp_path, "Yes", name="test.tsv")
    assert f"{test}:2: class 'Yes' differs from 'yes' ({train}:2) only by letter case" in refused(
        train, validation_path=test
    )


def test_unlabeled_rows_of_a_saved_dataset_are_refused(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    kinds = {"text": datasets.Value("string"), "class": datasets.ClassLabel(names=["no", "yes"])}
    columns = {"text": [f"word{n}" for n in range(6)], "class": [0, 1, -1, 0, 1, 0]}
    datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).to_parquet(tmp_path / "a.parquet")
    message = refused(tmp_path / "a.parquet", validation_path=tmp_path / "a.parquet")
    assert "a.parquet:3: class -1 marks a row without a label" in message


def test_setting_is_no_part_of_the_identity() -> None:
    config = REGISTRY["task"]["classification"]
    one, other = (config(name="classification", class_names=names) for names in ("distinct", "as_written"))
    assert identity_fields(one) == identity_fields(other)
