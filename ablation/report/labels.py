"""The words that every format uses alike: names of metrics, verdicts, effects and steps, safe one-line texts."""

import re
import unicodedata
from typing import Literal

from ..compare.measures import Measure
from ..compare.records import CellComparison, Comparison, Effect, MetricComparison, Step
from ..stats.contrast import plural
from ..stats.verdict import Verdict

Tone = Literal["good", "bad", "same", "open"]
"""What a verdict means, as a color says it."""
TONES: dict[str, Tone] = {
    "better": "good",
    "worse": "bad",
    "equivalent": "same",
    "identical": "same",
    "diverged": "bad",
    "the same": "same",
}
UNMATCHED = "¶"
BESIDE = "‡"
"""Behind the label of a cell that is not of the baseline's size, cost or data."""

SIZE_UNSURE = " (size unsure)"
"""Behind the verdict on a difference that may be smaller than the margin."""
DEPENDS = "≠ depends"

MARKS: dict[str, str] = {
    "better": "▲",
    "worse": "▼",
    "equivalent": "≈",
    "inconclusive": "?",
    "identical": "=",
    "diverged": "✗",
}
"""Beside a word, never instead of one."""

_UNITS = {"loss": "nats per token"}
_WITHIN_NAME = {"bits_per_character": "bits per character"}
"""Measures whose unit is in their name."""
# Sequences that set colors (CSI) or titles and links (OSC); removing ESC alone would leave the rest as noise.
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_MOST_CELLS_NAMED = 3


def plain(text: object) -> str:
    """``text`` in one line, without characters that control a terminal or reverse the direction of reading."""
    text = str(text)
    if text.isascii() and text.isprintable():  # as nearly all are
        one_line = " ".join(text.split())
        return text if text == one_line else one_line  # not a second copy of ten thousand labels
    harmless = []
    for character in _ESCAPE_SEQUENCE.sub("", text):
        category = unicodedata.category(character)
        if character.isspace() or category in ("Zl", "Zp"):
            harmless.append(" ")
        elif category not in ("Cc", "Cf", "Cs"):
            harmless.append(character)
    return " ".join("".join(harmless).split())


def metric_name(name: str) -> str:
    """A metric as people read it: ``tokens_per_second`` is ``tokens/s``, others lose their underscores."""
    measure, at, condition = name.partition("@")
    known = {"tokens_per_second": "tokens/s", "bits_per_character": "bits/character"}
    return known.get(measure, plain(measure).replace("_", " ")) + plain(at + condition).replace("_", " ")


def with_unit(name: str, unit: str) -> str:
    """``entropy in nats``; the name alone without a unit."""
    return f"{metric_name(name)} in {plain(unit)}" if unit else metric_name(name)


def axis_title(name: str, unit: str = "") -> str:
    """A metric with its unit: ``loss in nats per token``; ``unit`` is that of a metric which is not known here."""
    measure, at, condition = name.partition("@")
    if measure in _WITHIN_NAME:
        return f"{_WITHIN_NAME[measure]}{plain(at + condition)}"
    return with_unit(name, _UNITS.get(measure, unit))


def heading(comparison: Comparison) -> str:
    """``loss in nats per token, lower is better``."""
    measure = comparison.measures.get(comparison.metric)  # of a metric of named sets alone there is none
    name = axis_title(comparison.metric, measure.unit if measure else "")
    if comparison.better is None:
        return name
    return f"{name}, {comparison.better} is better"


def size(comparison: Comparison) -> str:
    """``8 cells, 3 seeds, 153,600 tokens a run``, or the least and the most of the completed runs."""
    runs = (run for cell in comparison.cells for run in cell.results)
    tokens = sorted({round(run.tokens) for run in runs if run.status == "completed" and run.tokens is not None})
    parts = [plural(len(comparison.cells), "cell"), plural(len(comparison.seeds), "seed")]
    if tokens:
        parts.append(f"{' to '.join(f'{end:,}' for end in dict.fromkeys((tokens[0], tokens[-1])))} tokens a run")
    return ", ".join(parts)


def mark(verdict: Verdict | None) -> str:
    """``▲``; empty where there is no verdict."""
    return "" if verdict is None else MARKS[verdict.label]


def verdict(verdict: Verdict | None) -> str:
    """``▼ worse``, ``▼ worse (size unsure)``, ``? leaning better``; empty where there is no verdict."""
    if verdict is None:
        return ""
    word = f"leaning {verdict.trend}" if verdict.trend else verdict.label
    return f"{mark(verdict)} {word}{SIZE_UNSURE if verdict.size_unsure else ''}"


def metric_verdict(measure: Measure, metric: MetricComparison) -> tuple[str, Tone]:
    """The verdict with its tone; of an exact count, which needs no test, how it compares; else an empty text."""
    if metric.verdict is not None:
        return verdict(metric.verdict), TONES.get(metric.verdict.label, "open")
    delta = None if metric.contrast is None else metric.contrast.delta
    if measure.kind != "exact" or delta is None:
        return "", "open"
    if delta == 0:
        return "the same", "same"
    if measure.better is None:
        return ("less" if delta < 0 else "more"), "open"
    return ("less" if delta < 0 else "more"), ("good" if (delta < 0) == (measure.better == "lower") else "bad")


def effects(comparison: Comparison) -> list[Effect]:
    """The main effects that could be estimated; the footnotes say why the others could not."""
    return [effect for effect in comparison.effects if effect.contrasts[comparison.metric].delta is not None]


def interactions(comparison: Comparison) -> list[Effect]:
    """All that could be estimated: those that happen to exclude zero would look larger than they are."""
    return [effect for effect in comparison.interactions if effect.contrasts[comparison.metric].delta is not None]


def effect_verdict(comparison: Comparison, effect: Effect) -> str:
    """The verdict on a main effect, or that it depends on another factor; of an interaction, whether there is one."""
    if effect.contrasts[comparison.metric].interval is None or effect.verdict is None:
        return ""
    if effect.given is not None:
        return "≠ interaction" if effect.differs else f"{mark(effect.verdict)} {effect.verdict.label}"
    return DEPENDS if depends(comparison, effect) else verdict(effect.verdict)


def depends(comparison: Comparison, effect: Effect) -> bool:
    """Whether a main effect is shown to change with another factor, so that it misleads alone."""
    level = (effect.path, effect.level)
    return any(
        other.differs and level in ((other.path, other.level), (other.given.path, other.given.level))
        for other in comparison.interactions
        if other.given is not None
    )


def stability(cell: CellComparison) -> str:
    """``stable 0/3``, ``fragile 0/3`` or ``unstable 1/3`` with the runs that diverged; empty without a record."""
    records = [run.stability for run in cell.results if run.ended]
    if not any("initial_loss" in record for record in records):
        return ""
    return f"{cell.stability} {cell.count('diverged')}/{len(records)}"


def effect(effect: Effect) -> str:
    """``block: post_norm against pre_norm``; of an interaction, ``block=post_norm x position=alibi``."""
    if effect.given is not None:
        return plain(f"{effect.name}={effect.level} x {effect.given.name}={effect.given.level}")
    return plain(f"{effect.name}: {effect.level} against {effect.baseline}")


def step(step: Step) -> str:
    """``+ position=alibi``: what changed from the cell before."""
    return plain(f"+ {step.change}")


def identical_everywhere(comparison: Comparison, name: str) -> bool:
    """Whether every cell has the baseline's values of a measure, seed by seed: one sentence says that of all."""
    found = [cell.metrics[name].verdict for cell in comparison.cells[1:]]
    return bool(found) and all(each is not None and each.label == "identical" for each in found)


def listed(names: list[str]) -> str:
    """The first three, and how many more there are."""
    named = "; ".join(names[:_MOST_CELLS_NAMED])
    return named if len(names) <= _MOST_CELLS_NAMED else f"{named} and {len(names) - _MOST_CELLS_NAMED} more"
