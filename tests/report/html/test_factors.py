"""Many factors at once: parallel coordinates, and importance over ranges."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.pages import made, values_in

from ablation.compare.importance import importance
from ablation.report.html.data import ReportData
from ablation.report.html.factors import factors

THREE = {"model.block": ["pre", "post"], "optimizer.lr": [1e-4, 1e-3, 1e-2], "model.n_heads": [1, 2]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return made(tmp_path_factory.mktemp("grid"), THREE, n_seeds=2)


def test_two_factors_need_no_parallel_coordinates(tmp_path: Path):
    assert factors(made(tmp_path, {"model.block": ["a", "b"], "model.x": ["c", "d"]})) is None


def test_line_of_a_cell_goes_through_its_levels_to_its_mean(data: ReportData):
    figure = factors(data)
    assert figure is not None and list(figure.views) == ["parallel coordinates"]
    points = [row for row in values_in(figure.views["parallel coordinates"]) if "place" in row and "cell" in row]
    cell = data.comparison.cells[-1]
    of_cell = [row["place"] for row in points if row["cell"] == data.names[cell.label]]
    assert len(of_cell) == len(THREE) + 1
    assert all(place == pytest.approx(1, abs=0.1) for place in of_cell)  # the last levels, and the highest loss
    middle = next(each for each in data.comparison.cells if each.levels["optimizer.lr"] == "0.001")
    places = [row["place"] for row in points if row["cell"] == data.names[middle.label]]
    assert places[1] == pytest.approx(0.5, abs=0.1)  # by its logarithm


def test_cells_with_one_level_are_beside_each_other(data: ReportData):
    figure = factors(data)
    assert figure is not None
    points = [row for row in values_in(figure.views["parallel coordinates"]) if "place" in row and "cell" in row]
    on_first = [row["place"] for row in points if row["axis"] == "0"]
    assert len(set(on_first)) == len(on_first) == len(data.comparison.cells)


def test_importance_is_that_of_the_comparison(data: ReportData):
    ranges = replace(data, comparison=replace(data.comparison, design={"name": "latin_hypercube"}))
    figure = factors(ranges)
    assert figure is not None
    assert list(figure.views) == ["parallel coordinates", "importance", "lr", "n_heads"]
    bars = {row["name"]: row["rho"] for row in values_in(figure.views["importance"]) if "name" in row}
    assert bars == importance(ranges.comparison) and bars
    points = [row for row in values_in(figure.views["lr"]) if "cell" in row]
    assert sorted({row["x"] for row in points}) == [1e-4, 1e-3, 1e-2] and len(points) == len(ranges.comparison.cells)
