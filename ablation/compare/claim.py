"""Claims tested on the runs of a grid: supported, contradicted, or not resolved at this budget."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, nearest
from ..grid.schema import NO_LEVEL, Answer
from ..stats.contrast import Contrast, paired
from ..stats.family import Hypothesis, adjust_family
from ..stats.sequential import ALPHA, alpha_at
from ..stats.verdict import Verdict
from .measures import SWEPT, unfinished
from .records import CellComparison, Comparison

MeasuredValues = Mapping[tuple[str, str], Sequence[float | None]]
"""By the cell's label and the name of a measure, replicate by replicate."""


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation of a claim and its test."""

    measure: str
    of: str
    """What is compared with what, as text."""
    expected: str
    margin: float | None
    ratio: bool
    values: tuple[float | None, ...]
    references: tuple[float | None, ...]
    contrast: Contrast
    verdict: Verdict
    answer: Answer


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its answer: supported if every expectation is, contradicted if one is."""

    statement: str
    source: str
    answer: Answer
    findings: tuple[ExpectationResult, ...]
    notes: tuple[str, ...] = ()
    """What speaks against the answer, a line each."""


def test_claim(
    claim: Mapping[str, Any],
    comparison: Comparison,
    probes: MeasuredValues | None = None,
    timings: MeasuredValues | None = None,
    inside: MeasuredValues | None = None,
) -> ClaimResult:
    """Test every expectation of ``claim`` on the runs; Holm over all of them at 5 %, or at the alpha of this look.

    ``probes`` have a value for each seed, ``timings`` for each process that took them; ``inside`` are what was measured
    inside trained models, by seed. Errors: InputError for a cell or a measure that does not exist.
    """
    looks, n_seeds = comparison.interim_looks, len(comparison.seeds)
    alpha = alpha_at(n_seeds, looks) if looks else ALPHA
    apart = {**(probes or {}), **(timings or {}), **(inside or {})}
    sides = [_sides(expectation, comparison, apart) for expectation in claim["expect"]]
    hypotheses = []
    for (_, _, contrast), expectation in zip(sides, claim["expect"], strict=True):
        expected, margin = expectation["expected"], expectation["margin"]
        sign = -1.0 if expected in ("lower", "not higher") else 1.0
        differences = contrast.differences if contrast.interval is not None else ()
        # "not higher" is a difference to the margin
        shift, margin = (margin, None) if expected.startswith("not ") else (0.0, margin)
        hypotheses.append(
            Hypothesis(
                tuple(sign * difference + shift for difference in differences),
                margin,
                alpha,
                expectation["measure"],
                exact=any(name == expectation["measure"] for _, name in probes or ()),
            )
        )
    findings = tuple(
        ExpectationResult(
            expectation["measure"],
            _describe(expectation),
            expectation["expected"],
            expectation["margin"],
            expectation["ratio"],
            tuple(values),
            tuple(references),
            contrast,
            verdict,
            _answer(expectation, verdict),
        )
        for expectation, (values, references, contrast), verdict in zip(
            claim["expect"], sides, adjust_family(hypotheses), strict=True
        )
    )
    answers = {finding.answer for finding in findings}
    if "contradicted" in answers:
        answer: Answer = "contradicted"
    else:
        answer = "supported" if answers == {"supported"} else "not resolved"
    return ClaimResult(claim["statement"], claim["source"], answer, findings)


def check_cells(claim: Mapping[str, Any], comparison: Comparison) -> None:
    """Errors: InputError for a cell that does not exist, so that it is known before hours of training."""
    for expectation in claim["expect"]:
        for pair in (expectation, expectation["beyond"] or {}):
            for side in pair.keys() & {"cell", "than"}:
                find_cell(comparison, pair[side])


def _answer(expectation: Mapping[str, Any], verdict: Verdict) -> Answer:
    """The hypothesis has the sign that makes the expected direction "better"."""
    if expectation["expected"].startswith("not "):
        if verdict.label not in ("better", "worse"):
            return "not resolved"
        return "supported" if verdict.label == "better" else "contradicted"
    if expectation["expected"] == "equivalent":
        if verdict.label in ("equivalent", "identical") or verdict.within_margin:
            return "supported"
        return "contradicted" if verdict.exceeds_margin else "not resolved"
    if verdict.label == "better" and not verdict.within_margin:
        return "supported" if verdict.exceeds_margin or expectation["margin"] is None else "not resolved"
    return "not resolved" if verdict.label == "inconclusive" else "contradicted"


def _sides(
    expectation: Mapping[str, Any], comparison: Comparison, apart: MeasuredValues
) -> tuple[Sequence[float | None], Sequence[float | None], Contrast]:
    """The values of both sides seed by seed, and their contrast."""
    pairs = [expectation, *([expectation["beyond"]] if expectation["beyond"] else [])]
    sides: list[list[Sequence[float | None]]] = []
    reason = None
    for pair in pairs:
        measured = [
            (expectation["measure"], find_cell(comparison, pair["cell"])),
            (expectation["than_measure"] or expectation["measure"], find_cell(comparison, pair["than"])),
        ]
        sides.append([_values(name, expectation["ratio"], cell, comparison, apart) for name, cell in measured])
        if pair is expectation and expectation["number"] is not None:
            del measured[1:]  # a number takes its place, so that its runs do not matter
        for name, cell in measured:
            # a sensitivity depends on the runs at all rates, not on those of this cell alone
            if (cell.label, name) not in apart and name not in SWEPT:
                reason = reason or unfinished(cell.results, name)
    if expectation["number"] is not None:
        if expectation["ratio"] and expectation["number"] <= 0:
            raise InputError(f"claim.expect: number: {expectation['number']:g} has no logarithm, which a ratio needs")
        number = math.log(expectation["number"]) if expectation["ratio"] else expectation["number"]
        sides[0][1] = [number] * len(sides[0][0])
    (values, references), *others = sides
    for more, less in others:
        # (a - b) - (c - d) as (a + d) - (b + c), so that rounding is not taken for noise
        values, references = _sum(values, less), _sum(references, more)
    return values, references, paired(values, references, reason)


def _values(
    name: str, ratio: bool, cell: CellComparison, comparison: Comparison, apart: MeasuredValues
) -> Sequence[float | None]:
    values = apart.get((cell.label, name))
    if values is None:
        if name not in comparison.measures:
            allowed = sorted({*comparison.names, *(measure for _, measure in apart)})
            raise InputError(f"claim.expect: {name!r} was not measured; measured: {', '.join(allowed)}"
                             f"{nearest(name, allowed)}")  # fmt: skip
        values = cell.metrics[name].values
    if not ratio:
        return values
    return [None if value is None or value <= 0 else math.log(value) for value in values]


def _sum(one: Sequence[float | None], other: Sequence[float | None]) -> list[float | None]:
    return [None if a is None or b is None else a + b for a, b in zip(one, other, strict=True)]


def find_cell(comparison: Comparison, overrides: Mapping[str, Any], where: str = "claim.expect") -> CellComparison:
    """The cell with these levels, and the baseline's elsewhere. Errors: InputError about the key ``where``."""
    levels, named = {factor["path"]: factor["baseline"] for factor in comparison.factors}, set[str]()
    for name, level in overrides.items():
        factor = next((f for f in comparison.factors if name in (f["path"], f["name"])), None)
        if factor is None:
            names = [f["name"] for f in comparison.factors]
            raise InputError(f"{where}: {name!r} is not a factor; factors: {', '.join(names)}{nearest(name, names)}")
        label = _level_label(level)
        if label not in factor["levels"]:
            allowed = ", ".join(factor["levels"])
            raise InputError(f"{where}: {name}: {label!r} is not a level; levels: {allowed}"
                             f"{nearest(label, factor['levels'])}")  # fmt: skip
        levels[factor["path"]] = label
        named.add(factor["path"])
    for cell in comparison.cells:
        if all(cell.levels[path] == level or (cell.levels[path] == NO_LEVEL and path not in named)
               for path, level in levels.items()):  # fmt: skip
            return cell
    raise InputError(f"{where}: the grid has no cell with {', '.join(f'{k}={v}' for k, v in levels.items())}")


def _level_label(level: Any) -> str:
    """The label that a grid gives to a level that is not a component."""
    if level is None or isinstance(level, bool):
        return {True: "true", False: "false", None: "null"}[level]
    return f"{level:g}" if isinstance(level, float) else str(level)


def _describe(expectation: Mapping[str, Any]) -> str:
    def cell(levels: Mapping[str, Any]) -> str:
        return " ".join(f"{name}={_level_label(level)}" for name, level in levels.items()) or "the baseline"

    other = cell(expectation["than"]) if expectation["number"] is None else f"{expectation['number']:g}"
    if expectation["than_measure"]:
        other = f"{expectation['than_measure']} of {other}"
    text = f"{cell(expectation['cell'])} against {other}"
    beyond = expectation["beyond"]
    return text if not beyond else f"{text}, beyond {cell(beyond['cell'])} against {cell(beyond['than'])}"
