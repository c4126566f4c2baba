"""What was found inside the trained models of cells, over seeds: heads that correspond, and what is lost without parts.

The heads of a layer have no order that seeds share: the third head of one seed may do what the first does of another.
So they are matched by what they do (their scores, never by what is lost without them), and then compared seed by seed
as cells are: with the paired t, Holm's correction over everything that is stated, and the words of ``stats.verdict``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ..stats.assignment import match
from ..stats.contrast import Contrast, Pairs, paired_all
from ..stats.family import judge
from ..stats.sequential import ALPHA
from ..stats.verdict import Verdict
from ..store.schemas import INSPECTION, INSPECTION_SCHEMA, read_checked
from .families import hypothesis
from .measures import measures

INSPECTION_FILE = "inspection.json"
"""In the folder of a grid, beside its manifest: what was found in its cells, without maps."""
LOSS = "loss"
ROLE = 0.5
"""A head is called after a score above this: more than half of its attention goes there."""
NO_ROLES = ("entropy", "distance", "by_distance", "by_position")
UNMATCHED = "heads without weights cannot be matched between seeds"


@dataclass(frozen=True)
class MatchedHead:
    """Heads of all seeds, one each, that do the same."""

    name: str
    """That of the first seed's."""
    stack: str
    layer: int
    sublayer: str
    indices: tuple[int, ...]
    """By seed, its number in the layer."""
    matched: bool
    scores: Mapping[str, tuple[float, ...]]
    """By score, over seeds; ranges are left out."""
    even: Mapping[str, float]
    """By score, what attention spread evenly would give, in the first seed."""
    importance: tuple[float, ...]
    """By gradient, over seeds."""

    @property
    def roles(self) -> list[str]:
        """The scores by which it is called, the largest first: those whose mean over seeds is above ``ROLE``."""
        means = {name: fmean(values) for name, values in self.scores.items() if name not in NO_ROLES}
        return sorted((name for name, mean in means.items() if mean > ROLE), key=lambda name: -means[name])


@dataclass(frozen=True)
class Knockout:
    """A part that was taken out of the models of all seeds."""

    part: str
    family: str
    without: Mapping[str, tuple[float, ...]]
    """By measure, over seeds."""
    contrasts: Mapping[str, Contrast]
    """By measure: without the part minus with it."""
    verdict: Verdict | None = None
    """On the loss."""


@dataclass(frozen=True)
class Pruned:
    """The models after so many heads were taken out greedily."""

    share: float
    measures: Mapping[str, tuple[float, ...]]
    contrast: Contrast
    """Of the loss, against the whole models."""


@dataclass(frozen=True)
class CellInside:
    """One cell: the models of its seeds."""

    label: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    unit: str
    """What the loss is counted in."""
    intact: Mapping[str, tuple[float, ...]]
    """By measure, over seeds, of the whole models."""
    heads: tuple[MatchedHead, ...]
    roles: Mapping[str, tuple[int, ...]]
    """By score, over seeds, how many heads have more than half of their attention there."""
    knockouts: tuple[Knockout, ...]
    agreement: tuple[float | None, ...]
    """By seed, Spearman's correlation of the heads' importance by gradient with the loss without them."""
    pruning: tuple[Pruned, ...]
    without_weights: Mapping[str, str]
    """By sublayer, why it has no attention weights."""
    logit_lens: Mapping[int, Mapping[str, tuple[float, ...]]]
    """By layer and measure, over seeds."""
    norms: Mapping[str, tuple[float, ...]]
    """By sublayer, over seeds: what it adds, relative to the stream."""
    missing: tuple[str, ...] = ()
    """Seeds without a model, and why."""

    @property
    def free_share(self) -> float | None:
        """See ``free_share``; the rise is that of the mean loss."""
        return free_share([(pruned.share, pruned.contrast.delta) for pruned in self.pruning])


@dataclass(frozen=True)
class Similarity:
    """How alike the streams of two cells are after each layer: CKA, averaged over pairs of seeds."""

    one: str
    other: str
    values: Mapping[str, Mapping[str, float]]
    """By layer of the one, then of the other."""


@dataclass(frozen=True)
class InsideComparison:
    """The cells that were looked into, with verdicts corrected over all of them together."""

    grid: str | None
    ablation: str
    cells: tuple[CellInside, ...]
    family: int
    similarities: tuple[Similarity, ...]
    margin: float
    """Of the loss."""


def read_inspection(directory: Path) -> dict[str, Any] | None:
    """What was found in a grid's cells, None where nobody has looked. Errors: StorageError when it is damaged."""
    found: dict[str, Any] | None = read_checked(directory / INSPECTION_FILE, INSPECTION, INSPECTION_SCHEMA)
    return found


def inside_of(manifest: Mapping[str, Any], directory: Path) -> InsideComparison | None:
    """What was found in the cells of a manifest as they are now; None where nothing is known of these runs."""
    data = read_inspection(directory)
    if data is None:
        return None
    planned = {cell["label"]: {run["id"] for run in cell["runs"]} for cell in manifest["cells"]}
    known = {cell["label"]: {run["run"] for run in cell["runs"]} for cell in data["cells"]}
    labels = [label for label, ids in known.items() if ids <= planned.get(label, set())]
    return compare_inside(data, labels) if labels else None


def margin_of_loss() -> float:
    """The smallest difference in loss that matters."""
    margin = measures([LOSS], {}, {})[LOSS].margin
    assert margin is not None
    return margin


def free_share(curve: Sequence[tuple[float, float | None]]) -> float | None:
    """The largest share of heads that can go before the loss rises by more than its margin.

    ``curve`` has, step by step, the share of heads that are gone and by how much the loss has risen, None where that is
    not known. None without steps.
    """
    if not curve:
        return None
    margin, largest = margin_of_loss(), 0.0
    for share, rise in curve:
        if rise is None or rise > margin:
            break
        largest = share
    return largest


def compare_inside(data: Mapping[str, Any], labels: Sequence[str] | None = None) -> InsideComparison:
    """The cells of an inspection.json, or of these ``labels`` alone, with verdicts on the loss without each part."""
    chosen = [cell for cell in data["cells"] if labels is None or cell["label"] in labels]
    cells = [_cell(cell) for cell in chosen]
    measure = measures([LOSS], {}, {})[LOSS]
    tested = [knockout for cell in cells for knockout in cell.knockouts]
    family = judge([hypothesis(measure, knockout.contrasts[LOSS], ALPHA) for knockout in tested])
    verdicts = iter(family.verdicts)
    with_verdicts = [
        replace(cell, knockouts=tuple(replace(each, verdict=next(verdicts)) for each in cell.knockouts))
        for cell in cells
    ]
    similarities = tuple(
        Similarity(each["one"], each["other"], each["values"])
        for each in data.get("similarities", ())
        if labels is None or {each["one"], each["other"]} <= set(labels)
    )
    return InsideComparison(
        data["grid"], data["ablation"], tuple(with_verdicts), family.size, similarities, margin_of_loss()
    )


def _cell(cell: Mapping[str, Any]) -> CellInside:
    runs = cell["runs"]
    order = _matched_order(runs)
    intact = _over_seeds([run["measures"] for run in runs])
    heads = tuple(_head(runs, order, place) for place in range(len(runs[0]["heads"]))) if runs else ()
    return CellInside(
        label=cell["label"],
        seeds=tuple(run["seed"] for run in runs),
        runs=tuple(run["run"] for run in runs),
        unit=cell["unit"],
        intact=intact,
        heads=heads,
        roles=_roles(runs),
        knockouts=tuple(_knockouts(runs, order, heads, intact)),
        agreement=tuple(_agreement(run) for run in runs),
        pruning=tuple(_pruning(runs, intact)),
        without_weights={
            each["name"]: each["reason_no_weights"]
            for each in (runs[0]["sublayers"] if runs else ())
            if each["reason_no_weights"] and each["sublayer"] != "feedforward"
        },
        logit_lens={
            layer["layer"]: _over_seeds([run["logit_lens"][index]["measures"] for run in runs])
            for index, layer in enumerate(runs[0]["logit_lens"] if runs else ())
        },
        norms={
            each["part"]: tuple(run["norms"][index]["norm"] for run in runs)
            for index, each in enumerate(runs[0]["norms"] if runs else ())
        },
        missing=tuple(cell.get("missing", ())),
    )


def _over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(row[name] for row in rows) for name in rows[0]} if rows else {}


def _sublayer_of(entry: Mapping[str, Any]) -> tuple[str, int, str]:
    return entry["stack"], entry["layer"], entry["sublayer"]


def _plain_scores(head: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in head["scores"].items() if not isinstance(value, list)}


def _matched_order(runs: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """By seed, the places of its heads in the order in which they correspond; heads stay in their sublayer.

    What is matched are the scores that lie between 0 and 1. The first seed's heads are in their own order.
    """
    orders: list[list[int]] = [[] for _ in runs]
    heads = runs[0]["heads"] if runs else []
    for sublayer in dict.fromkeys(map(_sublayer_of, heads)):
        places = [place for place, head in enumerate(heads) if _sublayer_of(head) == sublayer]
        features = [
            [
                [value for name, value in _plain_scores(run["heads"][place]).items() if name != "distance"]
                for place in places
            ]
            for run in runs
        ]
        members = match(features) if len(runs) > 1 and features[0][0] else [list(range(len(places)))] * len(runs)
        # As numbered in the first seed, whatever the reference was.
        first = sorted(range(len(places)), key=lambda position: members[0][position])
        for order, matched in zip(orders, members, strict=True):
            order += [places[matched[position]] for position in first]
    return orders


def _head(runs: Sequence[Mapping[str, Any]], order: Sequence[Sequence[int]], place: int) -> MatchedHead:
    heads = [run["heads"][of_run[place]] for run, of_run in zip(runs, order, strict=True)]
    first = heads[0]
    even = next(each["even"] for each in runs[0]["sublayers"] if _sublayer_of(each) == _sublayer_of(first))
    return MatchedHead(
        name=first["head"],
        stack=first["stack"],
        layer=first["layer"],
        sublayer=first["sublayer"],
        indices=tuple(head["index"] for head in heads),
        matched=len(runs) == 1 or bool(first["scores"]),
        scores={name: tuple(head["scores"][name] for head in heads) for name in _plain_scores(first)},
        even=even,
        importance=tuple(head["importance"] for head in heads),
    )


def _roles(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    names = dict.fromkeys(
        name for run in runs for head in run["heads"] for name in _plain_scores(head) if name not in NO_ROLES
    )
    counts = {
        name: tuple(sum(head["scores"].get(name, 0.0) > ROLE for head in run["heads"]) for run in runs)
        for name in names
    }
    return {name: count for name, count in counts.items() if any(count)}


def _knockouts(
    runs: Sequence[Mapping[str, Any]],
    order: Sequence[Sequence[int]],
    heads: Sequence[MatchedHead],
    intact: Mapping[str, tuple[float, ...]],
) -> list[Knockout]:
    """Every part with its contrasts; of heads, those that correspond."""
    found = []
    n_heads = 0
    for index, part in enumerate(runs[0]["knockouts"] if runs else ()):
        rows, reason = [run["knockouts"][index] for run in runs], None
        if part["family"] == "heads":  # they come first, in the order of the model's heads
            places = [of_run[n_heads] for of_run in order]
            rows = [run["knockouts"][place] for run, place in zip(runs, places, strict=True)]
            reason = None if heads[n_heads].matched else UNMATCHED
            n_heads += 1
        without = _over_seeds([row["measures"] for row in rows])
        contrasts = paired_all([Pairs(without[name], intact[name], reason) for name in without])
        found.append(Knockout(part["part"], part["family"], without, dict(zip(without, contrasts, strict=True))))
    return found


def _agreement(run: Mapping[str, Any]) -> float | None:
    """None for fewer than three heads, and where either is the same for all."""
    knocked = [each["measures"][LOSS] for each in run["knockouts"] if each["family"] == "heads"]
    importance = [head["importance"] for head in run["heads"]]
    if len(knocked) < 3 or len(knocked) != len(importance) or min(len(set(knocked)), len(set(importance))) < 2:
        return None
    from scipy.stats import spearmanr  # a second to import

    return float(spearmanr(importance, knocked).statistic)


def _pruning(runs: Sequence[Mapping[str, Any]], intact: Mapping[str, tuple[float, ...]]) -> list[Pruned]:
    """After each number of heads; which ones they are differs from seed to seed."""
    steps = list(zip(*(run["pruning"] for run in runs), strict=True)) if runs else []
    of_steps = [_over_seeds([step["measures"] for step in of_runs]) for of_runs in steps]
    contrasts = paired_all([Pairs(measured[LOSS], intact[LOSS]) for measured in of_steps])
    return [
        Pruned(of_runs[0]["share"], measured, contrast)
        for of_runs, measured, contrast in zip(steps, of_steps, contrasts, strict=True)
    ]
