"""What the formats for people say in words, the same in each: heading, counts of runs, notes below the table."""

import math
import re
import unicodedata
from collections.abc import Sequence

from ..compare.measures import EXACT, PARAMETERS, TIMED
from ..compare.records import CellComparison, Comparison, Effect, Step
from ..compare.stability import classify_stability
from ..stats.contrast import Contrast, plural
from ..stats.verdict import Verdict
from ..store.results import RunStatus
from . import numbers

MARKS: dict[str, str] = {
    "better": "▲",
    "worse": "▼",
    "equivalent": "≈",
    "inconclusive": "?",
    "identical": "=",
    "different": "≠",
}
"""Beside a word, never instead of one."""

_UNITS = {"loss": "loss in nats per token", "bits_per_character": "bits per character"}
# What sets colors (CSI) or titles and links (OSC); with ESC alone removed, its rest would stay as noise.
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_MOST_CELLS_NAMED = 3


def plain(text: object) -> str:
    """``text`` in one line, without characters that steer a terminal or reverse the order of reading."""
    kept = []
    for character in _ESCAPE_SEQUENCE.sub("", str(text)):
        category = unicodedata.category(character)
        if character.isspace() or category in ("Zl", "Zp"):
            kept.append(" ")
        elif category not in ("Cc", "Cf", "Cs"):
            kept.append(character)
    return " ".join("".join(kept).split())


def metric_name(name: str) -> str:
    """The name of a metric as a column is headed: ``tokens_per_second`` is ``tokens/s``, others lose underscores."""
    of, at, where = name.partition("@")
    return {"tokens_per_second": "tokens/s", "bits_per_character": "bits/character"}.get(
        of, plain(of).replace("_", " ")
    ) + plain(at + where).replace("_", " ")


def heading(comparison: Comparison) -> str:
    """``loss in nats per token, lower (↓) is better``."""
    name = _UNITS.get(comparison.metric, metric_name(comparison.metric))
    if comparison.better is None:
        return name
    return f"{name}, {comparison.better} is better"


def size(comparison: Comparison) -> str:
    """``8 cells, 3 seeds``."""
    return f"{plural(len(comparison.cells), 'cell')}, {plural(len(comparison.seeds), 'seed')}"


def mark(verdict: Verdict | None) -> str:
    """``▲``, or nothing where nothing was judged."""
    return "" if verdict is None else MARKS[verdict.label]


def verdict(verdict: Verdict | None) -> str:
    """``▼ worse``, ``? leaning better``, ``▲ better (size unsure)``; empty where nothing was judged."""
    if verdict is None:
        return ""
    word: str = verdict.label
    if verdict.label == "inconclusive":
        word = f"leaning {verdict.leaning}" if verdict.leaning else "undecided"
    return f"{mark(verdict)} {word}"


def differences(comparison: Comparison, contrasts: Sequence[Contrast]) -> list[tuple[str, str]]:
    """Each contrast of the chosen metric as its difference and what stands beside it: its interval, or words."""
    reference = comparison.baseline.metrics[comparison.metric]
    decimals = numbers.second_digit(reference.sd) if reference.sd else numbers.four_digits(reference.mean or 0.0)
    written = [numbers.difference(contrast, decimals) for contrast in contrasts]
    return [
        (delta, interval or _instead_of_interval(contrast, len(comparison.seeds)))
        for contrast, (delta, interval) in zip(contrasts, written, strict=True)
    ]


def effects(comparison: Comparison) -> list[Effect]:
    """The main effects that could be estimated; the notes say why the others could not."""
    return [effect for effect in comparison.effects if effect.contrasts[comparison.metric].delta is not None]


def interactions(comparison: Comparison) -> list[Effect]:
    """Those that could be told from nothing: where one is, the main effects of its factors mislead."""
    return [found for found in comparison.interactions if found.contrasts[comparison.metric].excludes_zero]


def effect_verdict(comparison: Comparison, effect: Effect) -> str:
    """The verdict on a main effect, or on which other factor it depends; of an interaction, that it is there."""
    contrast = effect.contrasts[comparison.metric]
    if contrast.interval is None:
        return ""
    if effect.given is not None:
        certain = effect.verdict is not None and effect.verdict.label in ("better", "worse")
        return "≠ there" if certain else "? perhaps"
    others = any(effect.path in (found.path, found.given.path) for found in interactions(comparison) if found.given)
    if others:
        return "≠ depends"
    return verdict(effect.verdict)


def stability(cell: CellComparison) -> str:
    """``stable``, ``fragile``, ``unstable``, with how many runs diverged; empty where nothing was observed."""
    observed = [run.stability for run in cell.results if run.ended]
    if not any("initial_loss" in run for run in observed):
        return ""
    word = classify_stability(observed) or ""
    diverged = cell.count("diverged")
    return f"{word} {diverged}/{len(cell.results)}" if diverged else word


def effect(effect: Effect) -> str:
    """``block: post_norm against pre_norm``; of an interaction, ``block=post_norm x position=alibi``."""
    if effect.given is not None:
        return plain(f"{effect.name}={effect.level} x {effect.given.name}={effect.given.level}")
    return plain(f"{effect.name}: {effect.level} against {effect.baseline}")


def step(step: Step) -> str:
    """``+ position=alibi``: what changed against the cell before."""
    return plain(f"+ {step.change}")


def cost(comparison: Comparison, cell: CellComparison, name: str, in_full: bool = True) -> str:
    """A count; or a speed with its ratio to the baseline, in the short form the ratio alone."""
    mean, reference = cell.metrics[name].mean, comparison.baseline.metrics[name].mean
    if mean is None:
        return numbers.ABSENT
    if name == PARAMETERS:
        return numbers.grouped(mean) if in_full else numbers.short(mean)
    if name in EXACT:
        return numbers.short(mean)
    if cell is comparison.baseline or not reference:
        return numbers.short(mean)
    ratio = numbers.ratio(mean, reference)
    return f"{numbers.short(mean)} {ratio}" if in_full else ratio


def timed(comparison: Comparison, cell: CellComparison, name: str) -> tuple[str, str]:
    """How many times the baseline's time (or speed), and the interval of that: 1.02 and [1.00, 1.04], written out."""
    metric = cell.metrics[name]
    assert name in TIMED
    if metric.contrast is None:
        unit = comparison.bench.get("measures", {}).get(name, {}).get("unit", "")
        return (numbers.ABSENT if metric.mean is None else f"{numbers.short_time(metric.mean, unit)}"), ""
    if metric.contrast.delta is None:
        return numbers.ABSENT, ""
    ratio = f"{numbers.TIMES}{math.exp(metric.contrast.delta):.3f}"
    if metric.contrast.interval is None:
        return ratio, ""
    low, high = map(math.exp, metric.contrast.interval)
    return ratio, f"[{low:.3f}, {high:.3f}]"


def runs(cell: CellComparison) -> list[str]:
    """``3/3``, or ``2/3`` and then ``+1 diverged``: completed of planned, and what became of the others."""
    statuses: tuple[RunStatus, ...] = ("diverged", "failed", "missing")
    others = [(cell.count(status), status) for status in statuses]
    return [
        f"{cell.count('completed')}/{len(cell.results)}",
        *(f"+{count} {words}" for count, words in others if count),
    ]


def listed(names: list[str]) -> str:
    """The first few, and how many more there are."""
    named = "; ".join(names[:_MOST_CELLS_NAMED])
    return named if len(names) <= _MOST_CELLS_NAMED else f"{named} and {len(names) - _MOST_CELLS_NAMED} more"


def _instead_of_interval(contrast: Contrast, seeds: int) -> str:
    """What stands where there is no interval to show: over how many seeds the difference is, if there is one."""
    if contrast.delta is None:
        return ""
    if contrast.constant:
        return "in every seed"
    return f"over {contrast.pairs} of {plural(seeds, 'seed')}" if contrast.pairs < seeds else "no interval"
