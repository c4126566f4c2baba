"""What was found inside trained models, in words and rows: the same in the terminal, on the page and in JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ..compare.inside import LOSS, CellInside, InsideComparison, Knockout, MatchedHead
from ..stats.contrast import plural
from ..stats.moments import stdev
from . import numbers
from .labels import MARKS, TONES, Tone, listed, plain, verdict

ABLATIONS = {
    "mean": "replaced by their mean output over the validation set",
    "zero": "replaced by zeros",
    "resample": "replaced by what they compute for another example",
}
ORDER = ("previous", "same", "first", "duplicate", "induction")
LAST = ("entropy", "distance")


@dataclass(frozen=True)
class KnockoutRow:
    """One part: how much the loss rises without it."""

    part: str
    family: str
    difference: str
    interval: str
    verdict: str
    tone: Tone
    note: str
    importance: str
    """By gradient, of a head."""
    others: Mapping[str, str]
    """By measure other than the loss, the difference with its interval."""


def score_names(cell: CellInside) -> list[str]:
    """The scores that some head has: those of every task first, then those of this one, entropy and distance last."""
    names = dict.fromkeys(name for head in cell.heads for name in head.scores)
    own = [name for name in names if name not in (*ORDER, *LAST)]
    return [name for name in (*ORDER, *own, *LAST) if name in names]


def score(values: Sequence[float], name: str) -> tuple[str, str]:
    """``(".94", "±.02")``: the mean over seeds and their standard deviation, which a single seed has not."""
    decimals = 1 if name == "distance" else 2
    mean = f"{fmean(values):.{decimals}f}"
    deviation = f"±{stdev(values):.{decimals}f}" if len(values) > 1 else ""
    return (mean, deviation) if name == "distance" else (mean.replace("0.", "."), deviation.replace("0.", "."))


def head_name(head: MatchedHead) -> str:
    """``layer 0 head 3``, and where the heads of other seeds have other numbers ``layer 0 head 3 (1, 0)``."""
    others = head.indices[1:]
    if all(index == head.indices[0] for index in others):
        return head.name
    return f"{head.name} ({', '.join(map(str, others))})"


def knockout_rows(cell: CellInside) -> list[KnockoutRow]:
    """Every part in the order of the model."""
    heads = iter(cell.heads)
    rows = []
    for knockout in cell.knockouts:
        head = next(heads, None) if knockout.family == "heads" else None
        difference, interval = _difference(knockout, LOSS)
        rows.append(
            KnockoutRow(
                part=knockout.part if head is None else head_name(head),
                family=knockout.family,
                difference=difference,
                interval=interval,
                verdict=verdict(knockout.verdict),
                tone=TONES.get(knockout.verdict.label, "open") if knockout.verdict else "open",
                note=plain(knockout.verdict.sentence) if knockout.verdict else "",
                importance="" if head is None else f"{fmean(head.importance):.3g}",
                others={
                    name: " ".join(part for part in _difference(knockout, name) if part)
                    for name in knockout.without
                    if name != LOSS
                },
            )
        )
    return rows


def _difference(knockout: Knockout, name: str) -> tuple[str, str]:
    contrast = knockout.contrasts[name]
    decimals = numbers.four_digits(fmean(knockout.without[name]))
    return numbers.difference(contrast, decimals)


def lead(comparison: InsideComparison) -> str:
    """What was done to the models."""
    return f"knockouts: parts are {ABLATIONS[comparison.ablation]}"


def findings(cell: CellInside, comparison: InsideComparison) -> list[str]:
    """What can be said of a cell, in sentences."""
    lines = []
    for name, counts in cell.roles.items():
        lines.append(f"{_count_of_heads(counts)} {ROLE_WORDS.get(name, f'look at the {plain(name)}')}")
    heads = [each for each in cell.knockouts if each.family == "heads"]
    if heads:
        lines.append(f"loss without one of {plural(len(heads), 'head')}: {_verdicts(heads)}")
    if cell.free_share is not None:
        free = round(cell.free_share * len(cell.heads))
        lines.append(
            f"{free} of {plural(len(cell.heads), 'head')} can go together, least important first, before the mean loss "
            f"rises by more than {comparison.margin:g}"
        )
    agreement = [value for value in cell.agreement if value is not None]
    if agreement:
        values = ", ".join(f"{value:.2f}" for value in agreement)
        lines.append(f"importance by gradient and loss without a head, rank correlation by seed: {values}")
    lines += [f"{plain(name)}: {plain(reason)}" for name, reason in cell.without_weights.items()]
    lines += [f"not looked into: {plain(line)}" for line in cell.missing]
    return lines


ROLE_WORDS = {
    "previous": "look at the previous token",
    "same": "look at the token itself",
    "first": "look at the first token (a sink)",
    "duplicate": "look at the earlier occurrence of the same token",
    "induction": "look at what followed the same token earlier (induction)",
}
"""Of a head with more than half of its attention there."""


def _verdicts(heads: Sequence[Knockout]) -> str:
    """``▼ worse 2 (layer 0 head 1; layer 1 head 0), ? inconclusive 6``: the heads that matter by their names."""
    parts = []
    for label in ("worse", "better", "equivalent", "identical", "inconclusive"):
        names = [each.part for each in heads if each.verdict and each.verdict.label == label]
        named = f" ({listed(names)})" if label == "worse" else ""
        parts += [f"{MARKS[label]} {label} {len(names)}{named}"] if names else []
    return ", ".join(parts)


def _count_of_heads(counts: Sequence[int]) -> str:
    """``2 heads in every seed``, ``2, 1, 2 heads by seed``."""
    if len(set(counts)) == 1:
        return f"{plural(counts[0], 'head')}{' in every seed' if len(counts) > 1 else ''}"
    return f"{', '.join(map(str, counts))} heads by seed"


def notes(comparison: InsideComparison) -> list[str]:
    """How the numbers are to be read."""
    units = listed(sorted({plain(cell.unit) for cell in comparison.cells}))
    pruned = any(cell.pruning for cell in comparison.cells)
    return [
        f"loss in nats per {units}; differences: without the part minus with it, over seeds; verdicts: paired t and "
        f"equivalence test, Holm over {plural(comparison.family, 'knockout')} at 5 % in all, margin "
        f"{comparison.margin:g}",
        *(
            ["fused backends hold no attention weights: they are computed once more, by the formula of `manual`"]
            if any(head.scores for cell in comparison.cells for head in cell.heads)
            else []
        ),
        "heads are matched between seeds by their scores, within their layer, and have the first seed's number",
        "a head looks at something where more than half of its attention goes there; duplicate and induction are "
        "measured on random tokens of which the second half repeats the first",
        *(
            ["pruning chooses the order on the same validation set, so that its losses are too favorable"]
            if pruned
            else []
        ),
    ]


def as_data(comparison: InsideComparison) -> dict[str, Any]:
    """The JSON of ``ablate inspect``."""
    return {
        "schema": 1,
        "grid": comparison.grid,
        "ablation": comparison.ablation,
        "margin": comparison.margin,
        "family": comparison.family,
        "cells": [_cell_data(cell, comparison) for cell in comparison.cells],
        "similarities": [
            {"one": each.one, "other": each.other, "cka": each.values} for each in comparison.similarities
        ],
    }


def _cell_data(cell: CellInside, comparison: InsideComparison) -> dict[str, Any]:
    return {
        "label": cell.label,
        "seeds": list(cell.seeds),
        "runs": list(cell.runs),
        "unit": cell.unit,
        "measures": {name: list(values) for name, values in cell.intact.items()},
        "findings": findings(cell, comparison),
        "heads": [
            {
                "head": head.name,
                "indices": list(head.indices),
                "roles": head.roles,
                "scores": {name: list(values) for name, values in head.scores.items()},
                "even": dict(head.even),
                "importance": list(head.importance),
            }
            for head in cell.heads
        ],
        "roles": {name: list(counts) for name, counts in cell.roles.items()},
        "knockouts": [_knockout_data(each) for each in cell.knockouts],
        "agreement": list(cell.agreement),
        "pruning": [
            {"share": each.share, "delta": each.contrast.delta, "ci": _interval(each.contrast.interval)}
            | {name: list(values) for name, values in each.measures.items()}
            for each in cell.pruning
        ],
        "free_share": cell.free_share,
        "logit_lens": [
            {"layer": layer, **{name: list(values) for name, values in measures.items()}}
            for layer, measures in cell.logit_lens.items()
        ],
        "norms": {name: list(values) for name, values in cell.norms.items()},
        "without_weights": dict(cell.without_weights),
        "missing": list(cell.missing),
    }


def _knockout_data(knockout: Knockout) -> dict[str, Any]:
    contrast, found = knockout.contrasts[LOSS], knockout.verdict
    return {
        "part": knockout.part,
        "family": knockout.family,
        "delta": contrast.delta,
        "ci": _interval(contrast.interval),
        "p": None if found is None else found.p_holm,
        "verdict": None if found is None else found.label,
        "measures": {name: list(values) for name, values in knockout.without.items()},
    }


def _interval(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)
