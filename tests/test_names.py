"""What a grid may be called, the name of a folder on every system, and which cell a part of a label means."""

from pathlib import Path

import pytest

from ablation.errors import InputError
from ablation.names import find_label, reason_no_folder
from ablation.store.runs import Store

ALLOWED = ["a", "0", "norm-position_heads.2", "console", "nullable", "auxiliary", "a" * 80, "storeroom", "com", "lpt10"]
REFUSED = ["", ".", "..", "a/b", "a\\b", ".hidden", "-x", "a.", "a b", "a\n", "a\0", "ä", "a" * 81, "C:"]
DEVICES = ["con", "CON", "nul", "NUL.txt", "aux.a.b", "prn", "com1", "LPT9", "com0"]


@pytest.mark.parametrize("name", ALLOWED)
def test_usual_name_is_allowed(name: str) -> None:
    assert reason_no_folder(name) is None


@pytest.mark.parametrize("name", [*REFUSED, *DEVICES, "store", "WandB"])
def test_name_that_is_no_folder_everywhere_is_refused(tmp_path: Path, name: str) -> None:
    assert reason_no_folder(name)
    with pytest.raises(InputError, match=r"^name: "):
        Store(tmp_path).grid_directory(name)


def test_name_that_differs_in_letter_case_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Study").mkdir()
    assert Store(tmp_path).grid_directory("Study") == tmp_path / "Study"
    with pytest.raises(InputError, match=r"'study' differs from the grid 'Study' in .* in letter case alone"):
        Store(tmp_path).grid_directory("study")


LABELS = ["block=pre_norm n_heads=4", "block=pre_norm n_heads=40", "block=post_norm n_heads=4"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("block=pre_norm n_heads=4", 0),
        ("post", 2),
        ("n_heads=40", 1),
        ("4 post_norm", 2),
        ("N_HEADS=40", 1),
        ("pre_norm n_heads=4", None),
        ("", None),
        ("sandwich", None),
    ],
)
def test_part_of_a_label_means_the_only_cell_that_has_it(written: str, found: int | None) -> None:
    if found is not None:
        assert find_label(written, LABELS) == LABELS[found]
        return
    with pytest.raises(InputError, match=rf"^--cell: '{written}' (could be 2 cells: |is not a cell; cells: )"):
        find_label(written, LABELS, "--cell: ")


@pytest.mark.parametrize(
    ("written", "found"),
    [("lr=1e-2", 0), ("lr=1e-05", 1), ("lr=0.00001 n_heads=4.0", 1), ("lr=.01", 0), ("lr=3", None)],
)
def test_number_in_a_label_may_be_written_in_another_way(written: str, found: int | None) -> None:
    labels = ["n_heads=4 lr=0.01", "n_heads=4 lr=1e-05"]
    if found is not None:
        assert find_label(written, labels) == labels[found]
        return
    with pytest.raises(InputError):
        find_label(written, labels)
