"""Reasons: everything a cell's verdicts rest on, and where its difference comes from."""

import math
from dataclasses import asdict
from typing import Any

from ..compare.attribution import attribute, why_not_attributed
from ..compare.families import hypothesis
from ..compare.measures import LENSES, Measure
from ..compare.records import CellComparison, Comparison, MetricComparison, Step
from ..stats.contrast import correlation
from ..stats.robustness import contradicted_from, posterior, sign_flip_p
from . import labels, numbers

_BAR = 40
"""How many characters a whole probability is wide."""


def reasons(comparison: Comparison, cell: CellComparison) -> dict[str, Any]:
    """As plain data: for each lens its primary measure, the runs, the standing, and the shares of the factors."""
    judged = []
    for lens in LENSES:
        name = comparison.primary[lens]
        if name is not None and (contrast := cell.metrics[name].contrast) is not None:
            judged.append(_judged(comparison, cell.metrics[name], comparison.measures[name]) | {"note": contrast.note})
    return {
        "grid": comparison.grid,
        "baseline": comparison.baseline.label,
        "cell": cell.label,
        "settings": {path: str(level) for path, level in cell.levels.items()},
        "runs": [
            {"seed": seed, "id": run.id, "status": run.status, "reason": run.reason}
            for seed, run in zip(cell.seeds, cell.results, strict=True)
        ],
        "standing": labels.stability(cell) or None,
        "lenses": judged,
        "shares": [
            {"factor": name, "delta": contrast.delta, "interval": contrast.interval}
            for name, contrast in attribute(comparison, cell)
        ],
        "shares_note": why_not_attributed(comparison, cell),
        "step": next((_step(comparison, step) for step in comparison.steps if step.cell == cell.label), None),
    }


def _step(comparison: Comparison, step: Step) -> dict[str, Any]:
    contrast = step.contrasts[comparison.metric]
    return {
        "change": step.change,
        "before": step.before,
        "measure": comparison.metric,
        "delta": contrast.delta,
        "interval": contrast.interval,
        "note": contrast.note,
    }


def _judged(comparison: Comparison, metric: MetricComparison, measure: Measure) -> dict[str, Any]:
    verdict, contrast = metric.verdict, metric.contrast
    assert contrast is not None
    reference = comparison.baseline.metrics[metric.name]
    tested = hypothesis(measure, contrast, verdict.alpha) if verdict and verdict.p is not None else None
    belief = None if tested is None or tested.margin is None else posterior(tested.differences, tested.margin)
    return {
        "lens": measure.lens,
        "measure": metric.name,
        "better": measure.better,
        "ratio": measure.ratio,
        "baseline_values": list(reference.values),
        "values": list(metric.values),
        "differences": list(contrast.differences),
        "delta": contrast.delta,
        "interval": list(contrast.interval) if contrast.interval else None,
        "correlation": correlation(metric.values, reference.values),
        "p": contrast.p,
        "p_holm": verdict.p_holm if verdict else None,
        "p_equivalence": verdict.p_equivalence if verdict else None,
        "p_equivalence_holm": verdict.p_equivalence_holm if verdict else None,
        "family": verdict.family if verdict else None,
        "p_sign_flip": sign_flip_p(tested.differences) if tested else None,
        "alpha": verdict.alpha if verdict else None,
        "margin": measure.margin,
        "verdict": verdict.label if verdict else None,
        "sentence": verdict.sentence if verdict else None,
        "posterior": asdict(belief) if belief else None,
    }


def show(found: dict[str, Any]) -> None:
    """On the terminal, a paragraph for each lens."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(
        Text(labels.plain(found["cell"]), "bold"), Text("against", "dim"), Text(labels.plain(found["baseline"]))
    )
    for judged in found["lenses"]:
        console.print()
        for line in _lines(judged):
            console.print(Text(line))
    if found["standing"]:
        console.print(Text(f"\nstability: {found['standing']}"))
    if found["shares"]:
        console.print(Text("\nshare of each factor on the way from the baseline (Shapley value, per seed):"))
        for share in found["shares"]:
            interval = "" if share["interval"] is None else " [{:+.4g}, {:+.4g}]".format(*share["interval"])
            console.print(Text(f"  {labels.plain(share['factor'])}: {share['delta']:+.4g}{interval}"))
    if found["step"]:
        console.print(Text(f"\n{_step_line(found['step'])}"))
    if found["shares_note"]:
        console.print(Text(f"\nno shares of the factors: {labels.plain(found['shares_note'])}"))
    for run in found["runs"]:
        if run["status"] != "completed":
            console.print(Text(f"seed {run['seed']} {run['status']}: {labels.plain(run['reason'] or '')}"))


def _step_line(step: dict[str, Any]) -> str:
    against = f"against the cell before it ({labels.plain(step['change'])}), described, not judged"
    measure = labels.metric_name(step["measure"])
    if step["interval"] is None:
        return f"{against}: {measure} without an interval: {step['note']}"
    low, high = step["interval"]
    return f"{against}: {measure} {step['delta']:+.4g} [{low:+.4g}, {high:+.4g}]"


def _lines(judged: dict[str, Any]) -> list[str]:
    name, ratio = labels.metric_name(judged["measure"]), judged["ratio"]
    lines = [f"{judged['lens']}: {name}" + (f", {judged['better']} is better" if judged["better"] else "")]
    for what, values in (("baseline", judged["baseline_values"]), ("this cell", judged["values"])):
        if values:
            lines.append(f"  {what + ':':12}" + "  ".join(numbers.ABSENT if v is None else f"{v:.5g}" for v in values))
    differences = [math.exp(d) for d in judged["differences"]] if ratio else judged["differences"]
    form = "{:.4f}" if ratio else "{:+.5g}"
    if differences:
        what = "ratios:" if ratio else "differences:"
        lines.append(f"  {what:12} " + "  ".join(form.format(d) for d in differences))
    if judged["interval"] is None:
        return [*lines, f"  no interval: {judged['note']}"]
    low, high = map(math.exp, judged["interval"]) if ratio else judged["interval"]
    delta = math.exp(judged["delta"]) if ratio else judged["delta"]
    lines.append(f"  mean {form.format(delta)}, interval [{form.format(low)}, {form.format(high)}]")
    if judged["correlation"] is not None:
        lines.append(f"  correlation of the two over seeds: {judged['correlation']:+.2f}")
    if judged["p"] is not None and judged["p_holm"] is not None:
        tests = (
            f"  paired t: p = {judged['p']:.3g}, after Holm over {judged['family']} comparisons {judged['p_holm']:.3g}"
        )
        lines.append(f"{tests}; to be below {judged['alpha']:g}")
    if judged["p_sign_flip"] is not None:
        lines.append(_sign_flip(judged))
    if judged["p_equivalence"] is not None:
        lines.append(
            f"  equivalence within ±{judged['margin']:g}: p = {judged['p_equivalence']:.3g}, "
            f"after Holm {judged['p_equivalence_holm']:.3g}"
        )
    elif judged["margin"] is None:
        lines.append("  no margin was declared, so nothing can be called equivalent")
    lines.append(f"  -> {judged['sentence']}")
    return [*lines, *_posterior(judged)] if judged["posterior"] else lines


def _sign_flip(judged: dict[str, Any]) -> str:
    p, n_pairs, alpha = judged["p_sign_flip"], len(judged["differences"]), judged["alpha"]
    claimed = judged["p_holm"] is not None and judged["p_holm"] < alpha
    doubt = "; it does not bear the difference out" if claimed and p >= contradicted_from(n_pairs, alpha) else ""
    return f"  sign-flip test: p = {p:.3g}, with {n_pairs} pairs at least {2 / 2**n_pairs:.3g}{doubt}"


def _posterior(judged: dict[str, Any]) -> list[str]:
    """The probabilities and, in as many characters, a bar of them."""
    worse, within, better = (judged["posterior"][name] for name in ("worse", "within", "better"))
    margin = f"{100 * judged['margin']:g} %" if judged["ratio"] else f"{judged['margin']:g}"
    ends = [round(_BAR * share) for share in (worse, worse + within, 1)]
    bar = labels.MARKS["worse"] * ends[0] + labels.MARKS["equivalent"] * (ends[1] - ends[0])
    return [
        "  in probabilities, no second verdict (reference prior: any size is as likely):",
        f"  worse by more than {margin}: {100 * worse:.1f} %, within: {100 * within:.1f} %, "
        f"better by more: {100 * better:.1f} %",
        f"  {bar}{labels.MARKS['better'] * (ends[2] - ends[1])}",
    ]
