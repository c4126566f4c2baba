"""Two studies: the cells that both have, the second study minus the first, paired by seed.

Each pair of cells is a comparison of its own, whose baseline is the cell of the first study; all of them are one family
of tests. What else differs between the studies is listed, as a difference may come from that.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..store.results import RunResult
from .cell import compare_cells
from .comparison import known_measures, measure_names
from .families import add_verdicts_to_all
from .measures import SPIKES, TIMED
from .records import CellRecord, Comparison

Cell = Mapping[str, Any]
"""A cell of a manifest."""
ENVIRONMENT = ("ablation", "torch", "lightning", "python", "host", "device", "machine", "precision", "threads", "ranks")
"""What a run records of its versions and its machine."""
ABSENT = "none"


@dataclass(frozen=True)
class StudyRuns:
    """A study as its folder has it."""

    name: str
    """By which the reader knows it."""
    manifest: Mapping[str, Any]
    results: Mapping[str, RunResult]
    identities: Mapping[str, Mapping[str, Any]]
    """By the id of a run, what identifies it (see ``config.identity``); without those that were never begun."""
    store: str = ""
    """Where its runs are."""


@dataclass(frozen=True)
class StudyDifference:
    """One thing in which two studies differ; ``cells`` are those it is about, all of them where there are none."""

    what: str
    a: str
    b: str
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class TwoStudies:
    """Two studies compared."""

    a: str
    b: str
    metric: str
    pairs: tuple[Comparison, ...]
    """For each cell that both have, its cell in the first study as the baseline and that in the second."""
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    """The labels of cells that the other study does not have."""
    seeds_only_a: tuple[int, ...]
    seeds_only_b: tuple[int, ...]
    differences: tuple[StudyDifference, ...]
    n_same_runs: int
    """How many pairs of runs are one and the same run, which both studies have."""
    n_run_pairs: int
    interim_looks: bool = False
    """Whether seeds were added to either at interim looks."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that both studies have."""
        return self.pairs[0].seeds

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the pairs: the label in the first study, and that in the second where it is another one."""
        return tuple(
            pair.baseline.label
            if pair.baseline.label == pair.cells[1].label
            else f"{pair.baseline.label} (in {self.b}: {pair.cells[1].label})"
            for pair in self.pairs
        )


def compare_studies(a: StudyRuns, b: StudyRuns, metric: str | None = None) -> TwoStudies:
    """Compare what two studies have in common; ``metric`` is by default that of the first.

    Errors: InputError where they have no cell or no seed in common, and where no run has measured the metric.
    """
    matched, only_a, only_b = match_cells(a, b)
    seeds_a, seeds_b = a.manifest["seeds"], b.manifest["seeds"]
    seeds = tuple(seed for seed in seeds_a if seed in set(seeds_b))
    if not matched:
        what = f"{a.name} has {_some(only_a)}; {b.name} has {_some(only_b)}"
        raise InputError(f"{a.name} and {b.name} have no cell with the same settings in common: {what}")
    if not seeds:
        what = f"{a.name} has {_some(map(str, seeds_a))}; {b.name} has {_some(map(str, seeds_b))}"
        raise InputError(f"{a.name} and {b.name} have no seed in common: {what}")
    records = [
        (CellRecord(one, seeds, a.results, {}), CellRecord(other, seeds, b.results, {})) for one, other in matched
    ]
    both = [record for pair in records for record in pair]
    chosen = metric or a.manifest["metric"]
    names = tuple(name for name in measure_names(chosen, both) if name not in TIMED)
    known = known_measures(names, a.manifest, both)
    has_spikes = any(run.value(SPIKES) is not None for record in both for run in record.results)
    pairs = [
        Comparison(
            grid=f"{a.name} and {b.name}",
            metric=chosen,
            better=known[chosen].better,
            seeds=seeds,
            instead_of=None,
            names=names,
            cells=tuple(compare_cells(pair, known, ())),
            measures=known,
            primary={"quality": chosen, "stability": SPIKES if has_spikes else None, "efficiency": None},
            variance="own",  # contrasts without a common baseline are not what the sharing was tested on
        )
        for pair in records
    ]
    runs = [(pair[0].ids[seed], pair[1].ids[seed]) for pair in records for seed in seeds
            if seed in pair[0].ids and seed in pair[1].ids]  # fmt: skip
    return TwoStudies(
        a=a.name,
        b=b.name,
        metric=chosen,
        pairs=tuple(add_verdicts_to_all(pairs)),
        only_a=only_a,
        only_b=only_b,
        seeds_only_a=tuple(seed for seed in seeds_a if seed not in seeds),
        seeds_only_b=tuple(seed for seed in seeds_b if seed not in seeds),
        differences=tuple(_differences(a, b, records)),
        n_same_runs=sum(one == other for one, other in runs) if a.store == b.store else 0,
        n_run_pairs=len(runs),
        interim_looks=any(study.manifest.get("interim_looks") for study in (a, b)),
    )


def match_cells(a: StudyRuns, b: StudyRuns) -> tuple[list[tuple[Cell, Cell]], tuple[str, ...], tuple[str, ...]]:
    """The cells of equal settings, in the order of the first study, and the labels of those without a counterpart.

    Cells whose levels are written alike have the same settings. Of the others all paths that vary in either study are
    compared, with the values that their runs were configured with, as a study need not name what it does not vary.
    """
    counterparts: dict[str, Cell] = {}
    left_a, left_b = list(a.manifest["cells"]), list(b.manifest["cells"])
    paths = sorted({path for cell in (*left_a, *left_b) for path in cell["settings"]})
    for key_a, key_b in (
        (_written, _written),
        (lambda cell: _configured(cell, a, paths), lambda cell: _configured(cell, b, paths)),
    ):
        by_key = {key: cell for cell in left_b if (key := key_b(cell)) is not None}
        for cell in left_a:
            key = key_a(cell)
            if key is not None and (other := by_key.pop(key, None)) is not None:
                counterparts[cell["label"]] = other
                left_b.remove(other)
        left_a = [cell for cell in left_a if cell["label"] not in counterparts]
    matched = [(cell, counterparts[cell["label"]]) for cell in a.manifest["cells"] if cell["label"] in counterparts]
    only_a, only_b = (tuple(cell["label"] for cell in left) for left in (left_a, left_b))
    return matched, only_a, only_b


def _written(cell: Cell) -> str:
    return json.dumps(cell["settings"], sort_keys=True)


def _configured(cell: Cell, study: StudyRuns, paths: Sequence[str]) -> str | None:
    """The values of the paths in the configuration of its runs; None where none of them was begun."""
    identity = _identity(cell, study)
    if identity is None:
        return None
    flat = dict(_leaves(identity))
    values = {}
    for path in paths:
        inside = {key: value for key, value in flat.items() if key == path or key.startswith(f"{path}.")}
        values[path] = inside or cell["settings"].get(path)  # a path of a file identifies nothing
    return json.dumps(values, sort_keys=True)


def _identity(cell: Cell, study: StudyRuns) -> Mapping[str, Any] | None:
    ids = (run["id"] for run in cell["runs"])
    return next((study.identities[run_id] for run_id in ids if run_id in study.identities), None)


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The single values of a configuration by their paths; a component is there by its name and what it has."""
    for key, part in value.items():
        inside = f"{path}.{key}" if path else key
        if isinstance(part, Mapping):
            yield from _leaves(part, inside)
        else:
            yield inside, part


def _differences(
    a: StudyRuns, b: StudyRuns, records: Sequence[tuple[CellRecord, CellRecord]]
) -> Iterator[StudyDifference]:
    """What differs beside the cells and seeds that only one has: settings and data first, then code and machines."""
    yield from _of_settings(a, b, records)
    for name in ("metric", "margins", "variance"):
        sides = [study.manifest.get(name) for study in (a, b)]
        if sides[0] != sides[1]:
            yield StudyDifference(name, _short(sides[0]), _short(sides[1]))
    runs = [[run for pair in records for run in pair[side].results if run.ended] for side in (0, 1)]
    for part in dict.fromkeys(part for side in runs for run in side for part in run.code):
        what = "code" if part == "source" else f"code of {part}"
        yield from _distinct(what, *([run.code.get(part) for run in side] for side in runs))
    for key in ENVIRONMENT:
        yield from _distinct(key, *([run.record.get(key) for run in side] for side in runs))


def _of_settings(
    a: StudyRuns, b: StudyRuns, records: Sequence[tuple[CellRecord, CellRecord]]
) -> Iterator[StudyDifference]:
    found: dict[tuple[str, str, str], list[str]] = {}
    compared = 0
    for one, other in records:
        sides = _identity(one.cell, a), _identity(other.cell, b)
        if sides[0] is None or sides[1] is None:
            continue
        compared += 1
        flat = [dict(_leaves(side)) for side in sides if side is not None]
        for path in dict.fromkeys([*flat[0], *flat[1]]):
            values = [side.get(path) for side in flat]
            if path != "seed" and values[0] != values[1]:
                what = {"fingerprint": "data (fingerprint)", "schema": "schema of identities"}.get(path, path)
                found.setdefault((what, *map(_short, values)), []).append(one.cell["label"])  # type: ignore[arg-type]
    for (what, value_a, value_b), labels in found.items():
        yield StudyDifference(what, value_a, value_b, () if len(labels) == compared else tuple(labels))


def _distinct(what: str, of_a: Sequence[Any], of_b: Sequence[Any]) -> Iterator[StudyDifference]:
    """A difference where other values occur in one study than in the other."""
    sides = [sorted({str(value) for value in side if value is not None}) for side in (of_a, of_b)]
    if all(sides) and sides[0] != sides[1]:
        yield StudyDifference(what, ", ".join(sides[0]), ", ".join(sides[1]))


def _short(value: Any) -> str:
    text = ABSENT if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
