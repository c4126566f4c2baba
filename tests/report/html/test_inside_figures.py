"""Figures of what is inside trained models, in the page of their grid."""

from pathlib import Path

import pytest
from support.pages import look_inside, made, values_in

from ablation.report.html import inside_figures
from ablation.report.html.data import ReportData
from ablation.report.html.figure import Figure
from ablation.report.html.page import sections

FACTORS = {"model.block": ["a", "b", "c"], "optimizer.lr": [1e-4, 1e-3, 1e-2], "model.n_heads": [1, 2]}


@pytest.fixture
def data(tmp_path: Path) -> ReportData:
    found = made(tmp_path, FACTORS, n_seeds=2)
    look_inside(found)
    return found


def cells_in(figure: Figure) -> set[str]:
    return {row["cell"] for view in figure.views.values() for row in values_in(view) if "cell" in row}


def test_figures_that_rows_are_chosen_in_have_rows_of_cells_alone(data: ReportData):
    figures = {figure.name: figure for _, of_section in sections(data) for figure in of_section}
    assert {"knockouts", "pruning", "factors", "forest_quality", "tradeoff"} <= figures.keys()
    for figure in figures.values():
        assert not figure.of_cells or cells_in(figure) <= set(data.names.values()), figure.name
    assert cells_in(figures["knockouts"]) and not figures["knockouts"].of_cells
    assert figures["pruning"].of_cells


def test_figures_without_cells_are_not_chosen_from(data: ReportData):
    assert data.inside is not None
    figures = [figure for _, of_section in inside_figures.sections(data.inside) for figure in of_section]
    assert {"similarity", "norms"} <= {figure.name for figure in figures}
    assert all(cells_in(figure) for figure in figures if figure.of_cells)
