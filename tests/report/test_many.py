"""Tables of words and numbers: those of very many rows are laid out as rich lays out those of few."""

import pytest
from rich.console import Console

from ablation.report.many import FewRows, ManyRows
from ablation.report.paging import as_text

TITLES = ["cell", "runs", "", "FLOPs/\ntoken", "cache B/\ntoken"]
ROWS = [
    ["norm=layer_norm position=rope lr=0.001 label_smoothing=0", "0/1", "", "1,609,984", "4,096"],
    ["label_smoothing=0.01", "0/1", "", "1,609,984", "4,096"],
    ["norm=rms_norm", "10/10", "-0.1%", "1,599", "none"],
]


@pytest.mark.parametrize("width", [20, 30, 40, 47, 55, 80, 160])
def test_many_rows_are_laid_out_as_few(width: int) -> None:
    few, many = (as_text(table(TITLES, ROWS), Console(width=width)) for table in (FewRows, ManyRows))
    assert many == few


def test_the_last_numbers_are_left_out_where_they_have_no_room_beside_the_longest_word() -> None:
    lines = as_text(ManyRows(TITLES, ROWS), Console(width=47)).splitlines()
    assert lines[0].split() == ["FLOPs/"]
    assert lines[-1].split() == ["norm=rms_norm", "10/10", "-0.1%", "1,599"]
    assert max(map(len, lines)) <= 47


def test_only_words_longer_than_the_column_may_be_are_broken() -> None:
    word = "x" * 50
    text = as_text(ManyRows(["cell", "runs"], [[f"a {word}", "0/1"]]), Console(width=59))
    assert text.splitlines()[1:] == [f"a{' ' * 53}0/1", word]
    text = as_text(ManyRows(["cell", "runs"], [[word, "0/1"]]), Console(width=47))
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["x" * 45, "x" * 5]
