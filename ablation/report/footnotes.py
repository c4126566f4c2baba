"""The words below a table: how to read it and what was tested; the rest comes from the modules imported here."""

from collections.abc import Iterable

from ..compare.importance import importance
from ..compare.measures import TOKENS_PER_SECOND
from ..compare.noise import noise_floor
from ..compare.records import Comparison
from ..stats.contrast import plural
from ..stats.power import replicates_in_words
from ..stats.verdict import Verdict
from . import caveats
from .data import data_lines
from .labels import depends, identical_everywhere, interactions, listed, metric_name, plain
from .missing import missing
from .provenance import comparability, hardware_and_versions

LEGEND = "▲ better  ▼ worse  ≈ equivalent  ? inconclusive  = identical  ✗ diverged"
"""The marks of the verdicts, for tables that have them."""


def notes(
    comparison: Comparison, table: str, legend: str = LEGEND, brief: bool = False, rows: bool = True
) -> list[str]:
    """The lines below a table whose text is ``table``; what that does not show is not explained.

    ``legend`` introduces the line on verdicts. ``brief`` leaves out hardware and versions that all runs share;
    without ``rows`` the first and the last one of the data are left out.
    """
    return [
        *reading(comparison, table),
        *tested(comparison, legend),
        *caveats.notes(comparison),
        *comparability(comparison),
        *data_lines(comparison.data, rows),
        *hardware_and_versions(comparison, only_if_different=brief),
        *missing(comparison, table),
    ]


def reading(comparison: Comparison, table: str | None = None) -> Iterable[str]:
    """How to read the table with the text ``table``; None: a table that shows everything."""
    contrasts = [contrast for cell in comparison.cells[1:] if (contrast := cell.metrics[comparison.metric].contrast)]
    if contrasts:
        interval = f"; {_interval(comparison)}" if any(contrast.interval for contrast in contrasts) else ""
        yield f"difference: cell minus baseline by seed{interval}"
    for name in filter(None, comparison.primary.values()):
        if identical_everywhere(comparison, name):
            yield f"{metric_name(name)}: identical to the baseline's in every cell, seed by seed"
    if comparison.instead_of is not None:
        metric = metric_name(comparison.metric)
        yield f"{metric_name(comparison.instead_of)} cannot be compared in every cell; {metric}, of the same text, can"
    if comparison.effects_model is not None:
        yield f"main effects: {comparison.effects_model}"
    yield from confounded(comparison)
    if strengths := importance(comparison):
        written = ", ".join(f"{plain(name)} {rho:+.2f}" for name, rho in strengths.items())
        yield f"rank correlation of {metric_name(comparison.metric)} with each factor over the ranges: {written}"
    if (floor := noise_floor(comparison)) is not None and floor.sd:
        yield (
            f"noise floor: the baseline's SD is {floor.sd:.2g} over {plural(floor.seeds, 'seed')}; single runs within "
            f"±{floor.bound:.2g} of its mean cannot be distinguished from it "
            f"(95 % for {'one change' if floor.changes == 1 else f'{floor.changes} changes together'})"
        )
    if interactions(comparison) and (table is None or " x " in table):
        yield "a x b: how much the effect of a changes with b"
    if any(depends(comparison, effect) for effect in comparison.effects):
        yield (
            "depends: the effect changes significantly with another factor (see the interactions), so its average "
            "alone misleads"
        )
    if comparison.named_sets:
        sets = plural(len(comparison.named_sets), "named set")
        yield f"{sets} with scores of their own: `ablate table {plain(comparison.grid)} --by-set`"
    if comparison.steps:
        without = ": no main effects" if comparison.effects_reason_missing else ""
        yield f"step by step: each cell minus the one before it; without verdicts, and of this order only{without}"
    yield from _of_some_seeds(comparison, table)
    has_sd = any(metric.sd for cell in comparison.cells for metric in cell.metrics.values())
    if has_sd and (table is None or "±" in table):
        yield "±: standard deviation (SD) over seeds, not an interval"
    if comparison.measured("training_step"):
        bench = comparison.bench
        yield (
            f"times: ratios to the baseline over {int(bench.get('processes', 0))} separate processes, "
            f"{bench.get('rounds', 0)} interleaved rounds each, {bench.get('dropped_rounds', 0)} dropped as noisy"
        )
    elif comparison.measured(TOKENS_PER_SECOND) and (table is None or metric_name(TOKENS_PER_SECOND) in table):
        yield (
            "tokens/s: measured while runs trained side by side, so not a fair comparison; `ablate bench` measures "
            "speed"
        )


def _of_some_seeds(comparison: Comparison, table: str | None) -> Iterable[str]:
    """The measures that not all runs of a cell have, though they have ended, with how many have them."""
    for name in comparison.names:
        if table is not None and metric_name(name) not in table:
            continue
        some = []
        for cell in comparison.cells:
            known = sum(value is not None for value in cell.metrics[name].values)
            ended = sum(run.status == "completed" for run in cell.results)
            if 0 < known < ended:
                some.append(f"{known} of {ended} in {plain(cell.label)}")
        if some:
            yield f"{metric_name(name)}: means of the runs that have it, {listed(some)}"


def confounded(comparison: Comparison) -> Iterable[str]:
    """Which effects are confounded in the cells of a fraction."""
    groups = comparison.design.get("confounded") or ()
    if groups:
        yield f"confounded: {'; '.join(' = '.join(map(plain, group)) for group in groups)}"


def _interval(comparison: Comparison) -> str:
    of = "over seeds, on one fixed validation set, uncorrected"
    if any(verdict.variance for verdict in comparison.verdicts):
        of = f"with variances shared between cells where there is a verdict, {of}"
    if not comparison.interim_looks:
        return f"95 % interval: paired t {of}"
    looks = ", ".join(map(str, comparison.interim_looks))
    return f"interval: paired t {of}, at the level that its interim look may spend (planned at {looks} seeds)"


def tested(comparison: Comparison, legend: str, tests: bool = True) -> Iterable[str]:
    """How verdicts were reached, and what would settle the inconclusive ones; ``tests`` adds the tests and margins."""
    verdicts = comparison.verdicts
    if not any(verdict.interval for verdict in verdicts):
        return
    if tests and comparison.family:
        level = "the 5 % of all planned interim looks together" if comparison.interim_looks else "5 % in all"
        holm = f"Holm over {plural(comparison.family, 'comparison')} at {level}"
        yield f"{legend}: paired t and equivalence test, {holm}; margins: {margins(comparison)}"
    else:
        yield f"{legend}: tested over seeds, not by overlap of intervals"
    if any(verdict.size_unsure for verdict in verdicts):
        yield "size unsure: there is a difference, which may be smaller than the margin"
    if any(verdict.trend for verdict in verdicts):
        yield "leaning: below 5 % only before the correction, which is no verdict"
    yield from _more_replicates(comparison, verdicts)
    # What could not be tested at all has its reason among the lines on missing intervals.
    unsettled = [verdict for verdict in verdicts if verdict.label == "inconclusive" and verdict.mean is not None]
    reasons = dict.fromkeys(
        verdict.reason_missing for verdict in unsettled if verdict.reason_missing and not verdict.more_seeds
    )
    yield from (f"inconclusive: {reason}" for reason in list(reasons)[:2])


def _more_replicates(comparison: Comparison, verdicts: Iterable[Verdict]) -> Iterable[str]:
    """How many seeds or processes would settle what is inconclusive, and how to add them."""
    bounds: dict[str, list[tuple[int, int]]] = {}
    for verdict in verdicts:
        if verdict.label == "inconclusive" and verdict.more_seeds:
            bounds.setdefault(verdict.replicate, []).append(verdict.more_seeds)
    for replicate, of_replicate in bounds.items():
        fewest = min(few for few, _ in of_replicate)
        more = replicates_in_words((fewest, max(many for _, many in of_replicate)), replicate)
        yield f"inconclusive: about {more} would settle it; {_how_to_add(comparison, replicate, fewest)}"


def _how_to_add(comparison: Comparison, replicate: str, fewest: int) -> str:
    if replicate == "process":
        return "`ablate bench --processes` times more"
    looks, n_seeds = comparison.interim_looks, len(comparison.seeds)
    if not looks:
        return "added now they raise the rate of false verdicts above 5 %, since no `interim_looks` were planned"
    if n_seeds + fewest > looks[-1]:
        return f"that is beyond the last planned look, at {looks[-1]} seeds"
    return "`ablate run --until-decided` adds them"


def margins(comparison: Comparison) -> str:
    """``loss 0.01, training step 3 %``: the smallest differences that matter, of the primary measures."""
    written = []
    for name in comparison.primary.values():
        if name is None:
            continue
        measure = comparison.measures[name]
        if measure.margin is None:
            written.append(f"{metric_name(name)} none, so nothing can be called equivalent")
        else:
            amount = f"{100 * measure.margin:g} %" if measure.ratio else f"{measure.margin:g}"
            written.append(f"{metric_name(name)} {amount}")
    return ", ".join(written)
