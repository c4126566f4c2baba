"""What ``ablate claim`` prints: the statement, whether it is supported, and the test of each expectation."""

import math

from rich.console import Console
from rich.text import Text

from ..compare.claim import ClaimResult, ExpectationResult
from . import labels, numbers

MARKS = {"supported": "✓", "contradicted": "✗", "not resolved": "?"}


def show(result: ClaimResult, console: Console | None = None) -> None:
    """Print the result of a claim."""
    console = console or Console()
    console.print(Text(labels.plain(result.statement), "bold"), Text(labels.plain(result.source), "dim"), sep="\n")
    at = " at this budget" if result.answer == "not resolved" else ""
    console.print(Text(f"\n{MARKS[result.answer]} {result.answer}{at}", "bold"))
    for note in result.notes:
        console.print(Text(f"! {labels.plain(note)}"))
    for finding in result.findings:
        console.print()
        for line in lines(finding):
            console.print(Text(line))


def lines(finding: ExpectationResult) -> list[str]:
    """One expectation: what was expected, the difference, the test."""
    by = "" if finding.margin is None else f" by more than {finding.margin:g}"
    if finding.expected == "equivalent":
        by = "" if finding.margin is None else f" within {finding.margin:g}"
    texts = [f"{MARKS[finding.answer]} {labels.metric_name(finding.measure)} of {labels.plain(finding.of)}: "
             f"expected {finding.expected}{by}"]  # fmt: skip
    contrast = finding.contrast
    if contrast.delta is None or contrast.interval is None:
        return [*texts, f"  no interval: {contrast.reason_missing}"]
    bounds = (contrast.delta, *contrast.interval)
    if finding.ratio:
        delta, low, high = (f"{numbers.TIMES}{math.exp(bound):.4g}" for bound in bounds)
    else:
        delta, low, high = (f"{bound:+.4g}" for bound in bounds)
    texts.append(f"  difference {delta} [{low}, {high}] over {contrast.pairs} seeds")
    verdict = finding.verdict
    test, holm = "paired t", verdict.p_holm
    if finding.expected.startswith("not "):
        test = "paired t against the margin"
    elif verdict.label == "equivalent" or (finding.expected == "equivalent" and verdict.label == "inconclusive"):
        test, holm = "equivalence test", verdict.p_equivalence_holm
    elif finding.margin is not None and verdict.exceeds_margin:
        test, holm = "paired t against the margin", verdict.p_exceeds_holm
    if holm is not None:
        texts.append(f"  {test}, Holm over {verdict.family}: p = {holm:.3g}")
    return texts
