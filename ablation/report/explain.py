"""What ``ablate explain`` prints: the tests behind the verdicts of a cell, and the effect of each of its factors."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..compare.attribution import attribute, reason_not_attributed
from ..compare.families import hypothesis
from ..compare.measures import LENSES, Measure
from ..compare.over_examples import over_examples
from ..compare.records import CellComparison, Comparison, Effect, MetricComparison, Step
from ..stats.contrast import correlation, plural
from ..stats.robustness import contradicted_from, posterior, sign_flip_p
from ..stats.verdict import Verdict
from . import caveats, labels, numbers

if TYPE_CHECKING:
    from rich.console import RenderableType

_BAR = 40
"""The width of the bar of probabilities, in characters."""


def reasons(comparison: Comparison, cell: CellComparison) -> dict[str, Any]:
    """As plain data: the primary measure of each lens, the runs, the stability, and the effect of each factor."""
    lenses = []
    for lens in LENSES:
        name = comparison.primary[lens]
        if name is not None and (contrast := cell.metrics[name].contrast) is not None:
            examples = over_examples(comparison, cell) if lens == "quality" else None
            lenses.append(
                _lens(cell.metrics[name], comparison.measures[name], comparison.baseline.metrics[name].values)
                | {"over_examples": asdict(examples) if examples else None, "note": contrast.reason_missing}
            )
    return {
        "grid": comparison.grid,
        "baseline": comparison.baseline.label,
        "cell": cell.label,
        "settings": {path: str(level) for path, level in cell.levels.items()},
        "runs": [
            {"seed": seed, "id": run.id, "status": run.status, "reason": run.reason}
            for seed, run in zip(cell.seeds, cell.results, strict=True)
        ],
        "stability": labels.stability(cell) or None,
        "divergence": _divergence(comparison, cell),
        "lenses": lenses,
        "caveats": [*caveats.notes(comparison)],
        "attribution": [
            {"factor": name, "delta": contrast.delta, "interval": contrast.interval}
            for name, contrast in attribute(comparison, cell)
        ],
        "attribution_note": reason_not_attributed(comparison, cell),
        "step": next((_step(comparison, step) for step in comparison.steps if step.cell == cell.label), None),
    }


def reasons_of_effect(comparison: Comparison, effect: Effect) -> dict[str, Any]:
    """The same of a main effect or an interaction, in the measure of the table: an average over cells has no runs."""
    contrast, measure = effect.contrasts[comparison.metric], comparison.measures[comparison.metric]
    metric = MetricComparison(comparison.metric, (), None, lambda: contrast, effect.verdict)
    return {
        "grid": comparison.grid,
        "effect": labels.effect(effect),
        "cells": effect.cells,
        "depends": effect.given is None and labels.depends(comparison, effect),
        "lenses": [_lens(metric, measure, ()) | {"over_examples": None, "note": contrast.reason_missing}],
        "caveats": [*caveats.notes(comparison)],
    }


def _divergence(comparison: Comparison, cell: CellComparison) -> dict[str, Any] | None:
    test = cell.divergence
    return None if test is None else {**asdict(test), "differs": test.differs, "family": comparison.family}


def _step(comparison: Comparison, step: Step) -> dict[str, Any]:
    contrast = step.contrasts[comparison.metric]
    return {
        "change": step.change,
        "before": step.before,
        "measure": comparison.metric,
        "delta": contrast.delta,
        "interval": contrast.interval,
        "note": contrast.reason_missing,
    }


def _lens(metric: MetricComparison, measure: Measure, reference: Sequence[float | None]) -> dict[str, Any]:
    """The test of a measure; ``reference`` are the baseline's values, seed by seed."""
    verdict, contrast = metric.verdict, metric.contrast
    assert contrast is not None
    tested = hypothesis(measure, contrast, verdict.alpha) if verdict and verdict.p is not None else None
    belief = None
    if verdict is not None and tested is not None and tested.margin is not None:
        belief = posterior(tested.differences, tested.margin, verdict.variance)
    return {
        "lens": measure.lens,
        "measure": metric.name,
        "better": measure.better,
        "ratio": measure.ratio,
        "baseline_values": list(reference),
        "values": list(metric.values),
        "differences": list(contrast.differences),
        "delta": contrast.delta,
        "interval": list(contrast.interval) if contrast.interval else None,
        "correlation": correlation(metric.values, reference),
        "p": contrast.p,
        "p_holm": verdict.p_holm if verdict else None,
        "p_equivalence": verdict.p_equivalence if verdict else None,
        "p_equivalence_holm": verdict.p_equivalence_holm if verdict else None,
        "p_exceeds": verdict.p_exceeds if verdict else None,
        "p_exceeds_holm": verdict.p_exceeds_holm if verdict else None,
        "family": verdict.family if verdict else None,
        "variance": _variance(verdict),
        "p_sign_flip": sign_flip_p(tested.differences) if tested else None,
        "alpha": verdict.alpha if verdict else None,
        "margin": measure.margin,
        "verdict": verdict.label if verdict else None,
        "sentence": verdict.sentence if verdict else None,
        "posterior": asdict(belief) if belief else None,
    }


def _variance(verdict: Verdict | None) -> dict[str, Any] | None:
    """That of the test where other cells had a part in it, with what the cell's own would say."""
    if verdict is None or verdict.variance is None or verdict.mean is None:
        return None
    variance = verdict.variance
    return {
        **asdict(variance),
        "standard_error": variance.standard_error,
        "shared": variance.shared,
        "own_standard_error": variance.own_standard_error,
        "own_p": variance.own_p(verdict.mean),
    }


def show(reasons: dict[str, Any]) -> None:
    """Print them, a paragraph for each lens."""
    from rich.console import Group
    from rich.text import Text

    from . import paging

    cell, baseline = Text(labels.plain(reasons["cell"]), "bold"), labels.plain(reasons["baseline"])
    parts: list[RenderableType] = [Text.assemble(cell, (" against ", "dim"), baseline), *_lenses(reasons)]
    if reasons["stability"]:
        parts.append(Text(f"\nstability: {reasons['stability']}"))
    if reasons["divergence"]:
        parts.append(Text(f"\n{_divergence_line(reasons['divergence'])}"))
    if reasons["attribution"]:
        parts.append(Text("\neffect of each factor on the way from the baseline (Shapley value, per seed):"))
        for part in reasons["attribution"]:
            interval = "" if part["interval"] is None else " [{:+.4g}, {:+.4g}]".format(*part["interval"])
            delta = numbers.ABSENT if part["delta"] is None else f"{part['delta']:+.4g}"
            parts.append(Text(f"  {labels.plain(part['factor'])}: {delta}{interval}"))
    if reasons["step"]:
        parts.append(Text(f"\n{_step_line(reasons['step'])}"))
    if reasons["attribution_note"]:
        parts.append(Text(f"\nno effects of single factors: {labels.plain(reasons['attribution_note'])}"))
    for caveat in reasons["caveats"]:
        parts.append(Text(f"\n{caveat}"))
    for run in reasons["runs"]:
        if run["status"] != "completed":
            reason = f": {labels.plain(run['reason'])}" if run["reason"] else ""
            parts.append(Text(f"seed {run['seed']} {run['status']}{reason}"))
    paging.show(Group(*parts))


def show_effect(reasons: dict[str, Any]) -> None:
    """Print those of an effect."""
    from rich.console import Group
    from rich.text import Text

    from . import paging

    over = f"averaged over {plural(reasons['cells'], 'cell')} of each"
    parts: list[RenderableType] = [Text(reasons["effect"], "bold"), Text(over, "dim")]
    parts += _lenses(reasons)
    if reasons["depends"]:
        parts.append(Text("\nit depends on another factor, so that the average alone misleads"))
    paging.show(Group(*parts, *(Text(f"\n{caveat}") for caveat in reasons["caveats"])))


def _lenses(reasons: dict[str, Any]) -> "list[RenderableType]":
    """What is indented stays so where it takes several lines."""
    from rich.padding import Padding
    from rich.text import Text

    parts: list[RenderableType] = []
    for lens in reasons["lenses"]:
        parts.append(Text())
        for line in _lines(lens):
            text = line.lstrip()
            parts.append(Padding(Text(text), (0, 0, 0, len(line) - len(text))))
    return parts


def _divergence_line(test: dict[str, Any]) -> str:
    counts = f"{test['diverged']} of {test['runs']} runs, {test['baseline_diverged']} of {test['baseline_runs']} of the"
    holm = f"after Holm over {plural(test['family'], 'comparison')} {test['p_holm']:.3g}"
    says = "" if test["differs"] else ", which is inconclusive"
    return (
        f"diverged: {counts} baseline; Boschloo's test: p = {test['p']:.3g}, {holm}; significant below "
        f"{test['alpha']:g}{says}"
    )


def _step_line(step: dict[str, Any]) -> str:
    against = f"against the cell before it ({labels.plain(step['change'])}), without a verdict"
    measure = labels.metric_name(step["measure"])
    if step["interval"] is None:
        return f"{against}: {measure} without an interval: {step['note']}"
    low, high = step["interval"]
    return f"{against}: {measure} {step['delta']:+.4g} [{low:+.4g}, {high:+.4g}]"


def _lines(lens: dict[str, Any]) -> list[str]:
    name, ratio = labels.metric_name(lens["measure"]), lens["ratio"]
    lines = [f"{lens['lens']}: {name}" + (f", {lens['better']} is better" if lens["better"] else "")]
    for name, values in (("baseline", lens["baseline_values"]), ("this cell", lens["values"])):
        if values:
            lines.append(f"  {name + ':':12}" + "  ".join(numbers.ABSENT if v is None else f"{v:.5g}" for v in values))
    differences = [math.exp(d) for d in lens["differences"]] if ratio else lens["differences"]
    form = "{:.4f}" if ratio else "{:+.5g}"
    if differences:
        heading = "ratios:" if ratio else "differences:"
        lines.append(f"  {heading:12} " + "  ".join(form.format(d) for d in differences))
    if lens["interval"] is None:
        return [*lines, f"  no interval: {lens['note']}"]
    low, high = map(math.exp, lens["interval"]) if ratio else lens["interval"]
    delta = math.exp(lens["delta"]) if ratio else lens["delta"]
    lines.append(f"  mean {form.format(delta)}, interval [{form.format(low)}, {form.format(high)}]")
    if lens["over_examples"] is not None:
        lines.append(_over_examples(lens["over_examples"]))
    if lens["correlation"] is not None:
        lines.append(f"  correlation of the two over seeds: {lens['correlation']:+.2f}")
    if lens["p"] is not None and lens["p_holm"] is not None:
        family = plural(lens["family"], "comparison")
        tests = f"  paired t: p = {lens['p']:.3g}, after Holm over {family} {lens['p_holm']:.3g}"
        lines.append(f"{tests}; significant below {lens['alpha']:g}")
    if lens["variance"] is not None:
        lines.append(_shared(lens["variance"]))
    if lens["p_sign_flip"] is not None:
        lines.append(_sign_flip(lens))
    if lens["p_equivalence"] is not None:
        lines.append(
            f"  equivalence within ±{lens['margin']:g}: p = {lens['p_equivalence']:.3g}, "
            f"after Holm {lens['p_equivalence_holm']:.3g}"
        )
        lines.append(
            f"  beyond ±{lens['margin']:g}: p = {lens['p_exceeds']:.3g}, after Holm {lens['p_exceeds_holm']:.3g}"
        )
    elif lens["margin"] is None:
        lines.append("  no margin was declared, so nothing can be called equivalent")
    lines.append(f"  -> {lens['sentence']}")
    return [*lines, *_posterior(lens)] if lens["posterior"] else lines


def _over_examples(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return (
        f"  over seeds and validation examples: [{low:+.5g}, {high:+.5g}]; {found['n_examples']} examples add "
        f"{100 * found['added']:.0f} % to the standard error ({found['standard_error']:.4g} on "
        f"{found['degrees']:.3g} degrees of freedom)"
    )


def _shared(variance: dict[str, Any]) -> str:
    return (
        f"  variance shared with the other cells: standard error {variance['standard_error']:.4g} on "
        f"{variance['degrees']:.3g} degrees of freedom (own: {variance['own_standard_error']:.4g} on "
        f"{variance['seeds'] - 1}, p = {variance['own_p']:.3g})"
    )


def _sign_flip(lens: dict[str, Any]) -> str:
    p, n_pairs, alpha = lens["p_sign_flip"], len(lens["differences"]), lens["alpha"]
    claimed = lens["p_holm"] is not None and lens["p_holm"] < alpha
    doubt = "; it does not support the difference" if claimed and p >= contradicted_from(n_pairs, alpha) else ""
    return f"  sign-flip test: p = {p:.3g}, the smallest possible with {n_pairs} pairs: {2 / 2**n_pairs:.3g}{doubt}"


def _posterior(lens: dict[str, Any]) -> list[str]:
    """The probabilities and, in as many characters, a bar of them."""
    worse, within, better = (lens["posterior"][name] for name in ("worse", "within", "better"))
    margin = f"{100 * lens['margin']:g} %" if lens["ratio"] else f"{lens['margin']:g}"
    ends = [round(_BAR * probability) for probability in (worse, worse + within, 1)]
    bar = labels.MARKS["worse"] * ends[0] + labels.MARKS["equivalent"] * (ends[1] - ends[0])
    return [
        "  as probabilities, not a second verdict (reference prior: every size equally likely):",
        f"  worse by more than {margin}: {100 * worse:.1f} %, within: {100 * within:.1f} %, "
        f"better by more: {100 * better:.1f} %",
        f"  {bar}{labels.MARKS['better'] * (ends[2] - ends[1])}",
    ]
