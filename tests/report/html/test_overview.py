"""The table of the page: intervals as pictures, columns of factors, and what rows are chosen and sorted by."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.pages import Seen, made, text_of

from ablation.report.html.data import ReportData
from ablation.report.html.overview import PageColumn, choices, in_full, overview


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return made(tmp_path_factory.mktemp("grid"), {"model.block": ["a", "b"], "optimizer.lr": [1, 2, 3]})


def pictures(data: ReportData) -> PageColumn:
    (column,) = (column for column in overview(data).columns if column.kind == "picture")
    return column


def bars(picture: str) -> list[list[float]]:
    """The numbers of each bar: of the interval, then of the difference, then of arrows."""
    return [
        [float(number) for number in re.findall(r"[\d.]+", path)] for path in re.findall(r'"bar" d="([^"]+)"', picture)
    ]


def test_each_row_has_its_interval_as_a_picture(data: ReportData):
    column = pictures(data)
    assert column.pictures[0] == "" and all("<svg" in picture for picture in column.pictures[1:])
    assert len(overview(data).rows) == len(data.comparison.cells)
    for cell, picture in zip(data.comparison.cells[1:], column.pictures[1:], strict=True):
        contrast = cell.metrics["loss"].contrast
        assert contrast is not None and contrast.interval is not None and contrast.delta is not None
        (low, _, high), (delta, *_) = bars(picture)[:2]
        assert low <= delta <= high
        if (width := contrast.interval[1] - contrast.interval[0]) > 1e-6:
            fraction = (contrast.delta - contrast.interval[0]) / width
            assert (delta - low) / (high - low) == pytest.approx(fraction, abs=0.1)


def test_pictures_share_one_axis_with_its_numbers_in_the_head(data: ReportData):
    column = pictures(data)
    zeros = {re.findall(r'"zero" d="M([\d.]+)', picture)[0] for picture in column.pictures[1:]}
    assert len(zeros) == 1
    numbers = re.findall(r">([^<]+)</text>", str(column.axis))
    assert "0" in numbers and len(numbers) >= 2


def test_interval_far_beyond_the_others_ends_in_an_arrow(data: ReportData):
    cells = list(data.comparison.cells)
    metric = cells[3].metrics["loss"]
    assert metric.contrast is not None
    contrast = replace(metric.contrast, delta=90.0, interval=(80.0, 100.0))
    far = replace(metric, compare=lambda: contrast)
    cells[3] = replace(cells[3], metrics={**cells[3].metrics, "loss": far})
    column = pictures(replace(data, comparison=replace(data.comparison, cells=tuple(cells))))
    assert len(bars(column.pictures[3])) == 2  # the interval at the edge, and the arrow
    (low, _, high), *_ = bars(column.pictures[1])
    assert high - low > 1  # the others keep their widths


def test_rows_are_sorted_by_numbers_and_verdicts_by_their_meaning(data: ReportData):
    table = overview(data)
    for column in table.columns:
        if column.kind == "mean":
            means = [cell.metrics["loss"].mean for cell in data.comparison.cells]
            assert [float(key) for key in column.keys] == pytest.approx(means, rel=1e-5)
        if column.kind == "verdict" and column.title == "verdict":
            assert column.keys[0] == "" and all(key.isdigit() for key in column.keys[1:])


def test_factors_with_few_levels_can_be_chosen_from(data: ReportData, tmp_path: Path):
    assert [(choice.name, list(choice.levels)) for choice in choices(data)] == [
        ("block", ["a", "b"]), ("lr", ["1", "2", "3"]),
    ]  # fmt: skip
    assert json.loads(overview(data).rows[4].levels) == ["b", "2"]
    assert choices(made(tmp_path, {"optimizer.lr": [1, 2, 3]})) == []


def test_combined_levels_of_many_factors_have_a_column_each(data: ReportData, tmp_path: Path):
    assert overview(data).factors == []
    many = made(tmp_path, {"model.a": [1, 2], "model.b": [3, 4], "model.c": [5, 6]}, n_seeds=2)
    table = overview(many)
    assert table.factors == ["a", "b", "c"] and list(table.rows[-1].in_columns) == ["2", "4", "6"]
    assert list(many.short_names.values()) == ["baseline", *(
        " · ".join(cell.levels.values()) for cell in many.comparison.cells[1:])]  # fmt: skip
    heads = re.findall(r'<th scope="col"[^>]*>([^<]+)', text_of(many))
    assert heads[:3] == ["a", "b", "c"]


def test_tables_of_all_that_was_measured_name_the_measure_of_each_column(data: ReportData):
    tables = in_full(data)
    assert list(tables) == ["Quality", "Stability", "Efficiency"]
    titles = [column.title for column in tables["Quality"].columns]
    assert "loss@2x" in titles and "loss@2x, difference" in titles
    assert len(titles) == len(set(titles))


def test_question_is_at_the_top(data: ReportData):
    asked = replace(data, comparison=replace(data.comparison, question="Does <it> help?"))
    seen = Seen(text_of(asked))
    assert seen.text.index("Does <it> help?") < seen.text.index("Comparison")
