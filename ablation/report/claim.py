"""The answer to a claim on the terminal: the statement, the answer, and the numbers behind it."""

import math

from rich.console import Console
from rich.text import Text

from ..compare.claim import ClaimResult, ExpectationResult
from . import labels, numbers

MARKS = {"supported": "✓", "contradicted": "✗", "not resolved": "?"}


def show(answered: ClaimResult, console: Console | None = None) -> None:
    """Print it."""
    console = console or Console()
    console.print(Text(labels.plain(answered.statement), "bold"), Text(labels.plain(answered.source), "dim"), sep="\n")
    at = " at this budget" if answered.answer == "not resolved" else ""
    console.print(Text(f"\n{MARKS[answered.answer]} {answered.answer}{at}", "bold"))
    for finding in answered.findings:
        console.print()
        for line in lines(finding):
            console.print(Text(line))


def lines(finding: ExpectationResult) -> list[str]:
    """One expectation: what was expected, what came out, and the test."""
    by = "" if finding.margin is None else f" by more than {finding.margin:g}"
    if finding.expected == "equivalent":
        by = "" if finding.margin is None else f" within {finding.margin:g}"
    found = [f"{MARKS[finding.answer]} {labels.metric_name(finding.measure)} of {labels.plain(finding.of)}: "
             f"expected {finding.expected}{by}"]  # fmt: skip
    contrast = finding.contrast
    if contrast.delta is None or contrast.interval is None:
        return [*found, f"  no interval: {contrast.note}"]
    bounds = (contrast.delta, *contrast.interval)
    if finding.ratio:
        delta, low, high = (f"{numbers.TIMES}{math.exp(bound):.4g}" for bound in bounds)
    else:
        delta, low, high = (f"{bound:+.4g}" for bound in bounds)
    seeds = f"over {contrast.pairs} seeds"
    found.append(f"  difference {delta} [{low}, {high}] {seeds}")
    verdict = finding.verdict
    test, holm = "paired t", verdict.p_holm
    if finding.expected == "equivalent" and verdict.label not in ("better", "worse"):
        test, holm = "equivalence test", verdict.p_equivalence_holm
    if holm is not None:
        found.append(f"  {test}, Holm over {verdict.family}: p = {holm:.3g}")
    return found
