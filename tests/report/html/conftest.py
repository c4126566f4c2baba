"""The page of a grid, and that of one whose every name is hostile."""

import pytest
from support.pages import HOSTILE, made, text_of

from ablation.report.html.data import ReportData


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return made(tmp_path_factory.mktemp("grid"), unfinished=[(2, 1)])


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return text_of(data)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("hostile")
    return made(folder, {f"model.{HOSTILE[0]}": HOSTILE, "model.x": ["a", "b"]}, metric=HOSTILE[0], reason=HOSTILE[0])
