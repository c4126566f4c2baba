"""Every run: where its directory is, how it ended, and how its settings differ from the baseline's."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ...compare.records import CellComparison
from .. import numbers
from ..labels import metric_name, plain
from .data import ReportData, flat

_ABSENT = "absent"


@dataclass(frozen=True)
class Listed:
    """One run; ``said`` is its final value of the metric, or why it has none."""

    seed: int
    status: str
    said: str
    link: str


@dataclass(frozen=True)
class Group:
    """The runs of a cell; ``changes`` are (path, baseline's value, its value)."""

    name: str
    changes: Sequence[tuple[str, str, str]]
    runs: Sequence[Listed]


def groups(material: ReportData, page: Path) -> list[Group]:
    """Cell by cell; links are relative to the folder of ``page``, so that both may move together."""
    return [
        Group(
            material.names[cell.label],
            _changes(material, cell),
            [_listed(material, cell, place, page) for place in range(len(cell.results))],
        )
        for cell in material.comparison.cells
    ]


def _changes(material: ReportData, cell: CellComparison) -> list[tuple[str, str, str]]:
    """By the resolved settings of the first seed that both have; of what was never begun, by the grid's."""
    baseline = material.comparison.baseline
    for mine in cell.results:
        for other in baseline.results:
            config, reference = material.configs.get(mine.id), material.configs.get(other.id)
            if config is not None and reference is not None:
                return _differing(config, reference)
    return _differing(flat(dict(cell.settings)), flat(dict(baseline.settings)))


def _differing(config: dict[str, str], reference: dict[str, str]) -> list[tuple[str, str, str]]:
    paths = dict.fromkeys([*reference, *config])
    return [
        (plain(path), plain(reference.get(path, _ABSENT)), plain(config.get(path, _ABSENT)))
        for path in paths
        if path != "seed" and config.get(path) != reference.get(path)
    ]


def _listed(material: ReportData, cell: CellComparison, place: int, page: Path) -> Listed:
    run, seed, metric = cell.results[place], cell.seeds[place], material.comparison.metric
    value = run.metrics.get(metric)
    said = f"{metric_name(metric)} {value:.{numbers.four_digits(value)}f}" if value is not None else ""
    directory = os.path.relpath(material.directory(run.id).resolve(), page.resolve().parent)
    link = quote(Path(directory).as_posix() + "/")
    return Listed(seed, "not yet there" if run.status == "missing" else run.status, plain(run.reason or said), link)
