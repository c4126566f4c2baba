"""What the formats for people say in words, the same in each: heading, counts of runs, notes below the table."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from ..analysis import CellComparison, Comparison, Contrast, Effect, Outcome, Verdict
from ..analysis.contrast import plural
from ..analysis.measures import EXACT, PARAMETERS, TIMED, TOKENS_PER_SECOND
from ..analysis.outcome import Status
from ..analysis.stability import signs
from ..analysis.stability import standing as standing_of
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
_ENDED = ("diverged", "failed")
# What sets colours (CSI) or titles and links (OSC); with ESC alone removed, its rest would stay as noise.
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_MOST_CELLS_NAMED = 3
_MOST_ENDINGS = 10
_LONGEST_REASON = 300


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
    return {"tokens_per_second": "tokens/s", "bits_per_character": "bits/character"}.get(
        name, plain(name).replace("_", " ")
    )


def heading(comparison: Comparison) -> str:
    """``loss in nats per token, lower (↓) is better``."""
    name = _UNITS.get(comparison.metric, metric_name(comparison.metric))
    if comparison.better is None:
        return name
    return f"{name}, {comparison.better} is better"


def summary(comparison: Comparison) -> str:
    """What came out, under each lens, in one or two sentences."""
    return " ".join(_sentences(comparison))


def _sentences(comparison: Comparison) -> Iterable[str]:
    changes = comparison.cells[1:]
    ended = sum(run.ended for cell in comparison.cells for run in cell.outcomes)
    planned = sum(len(cell.outcomes) for cell in comparison.cells)
    if not ended:
        yield f"None of {plural(planned, 'run')} has ended yet."
        return
    if ended < planned:
        yield f"Partial: {ended} of {planned} runs have ended."
    if changes:
        yield _counted(comparison, comparison.metric, ("improve", "improves"), ("worsen", "worsens"))
    diverged = {plain(cell.label): cell.count("diverged") for cell in comparison.cells if cell.count("diverged")}
    if diverged:
        runs = plural(sum(diverged.values()), "run")
        yield f"{runs} diverged ({_listed([f'{count} of {label}' for label, count in diverged.items()])})."
    else:
        yield "No run diverged."
    if not comparison.measured("training_step"):
        yield "Speed was not measured."
    elif changes:
        yield _counted(comparison, "training_step", ("speed up", "speeds up"), ("slow down", "slows down"))


def _counted(comparison: Comparison, name: str, gains: tuple[str, str], losses: tuple[str, str]) -> str:
    """``2 of 7 changes improve loss, 1 worsens it; 4 undecided.``"""
    verdicts = [cell.metrics[name].verdict for cell in comparison.cells[1:]]
    if not any(verdicts):
        return f"Nothing is judged on {metric_name(name)}."
    counts = Counter[str]("inconclusive" if verdict is None else verdict.label for verdict in verdicts)
    what = {"training_step": "a training step"}.get(name, metric_name(name))
    parts = [
        f"{counts[label]} {words[counts[label] == 1]} {{}}"
        for label, words in (("better", gains), ("worse", losses))
        if counts[label]
    ]
    if not parts:
        of = f"the {len(verdicts)} changes" if len(verdicts) > 1 else "1 change"
        surely = "" if counts["equivalent"] + counts["identical"] == len(verdicts) else " surely"
        parts = [f"none of {of}{surely} {gains[1]} or {losses[1]} {{}}"]
    else:
        first, _, rest = parts[0].partition(" ")
        parts[0] = f"{first} of {plural(len(verdicts), 'change')} {rest}"
    parts = [part.format(what if place == 0 else "it") for place, part in enumerate(parts)]
    same = counts["equivalent"] + counts["identical"]
    others = [f"{same} {'makes' if same == 1 else 'make'} no difference that matters"] if same else []
    if counts["inconclusive"]:
        others.append(f"{counts['inconclusive']} undecided")
    sentence = "; ".join([", ".join(parts), *others])
    return f"{sentence[0].upper()}{sentence[1:]}."


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


def standing(cell: CellComparison) -> str:
    """``stable``, ``fragile``, ``unstable``, with how many runs diverged; empty where nothing was observed."""
    observed = [run.stability for run in cell.outcomes if run.ended]
    if not any("initial_loss" in run for run in observed):
        return ""
    word = standing_of(observed) or ""
    diverged = cell.count("diverged")
    return f"{word} {diverged}/{len(cell.outcomes)}" if diverged else word


def effect(effect: Effect) -> str:
    """``block: post_norm against pre_norm``; of an interaction, ``block=post_norm x position=alibi``."""
    if effect.given is not None:
        return plain(f"{effect.name}={effect.level} x {effect.given.name}={effect.given.level}")
    return plain(f"{effect.name}: {effect.level} against {effect.baseline}")


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
    statuses: tuple[Status, ...] = ("diverged", "failed", "missing")
    others = [(cell.count(status), status) for status in statuses]
    return [
        f"{cell.count('completed')}/{len(cell.outcomes)}",
        *(f"+{count} {words}" for count, words in others if count),
    ]


def notes(comparison: Comparison) -> list[str]:
    """The lines below the table: how to read it, how it was made, what is not in it and why."""
    return [
        *_reading(comparison),
        *_no_interval(comparison),
        *([f"no main effects — {comparison.effects_note}"] if comparison.effects_note else []),
        *_signs(comparison),
        *_endings(comparison),
    ]


def cell_note(comparison: Comparison, cell: CellComparison) -> str | None:
    """Of one cell: why its difference has no interval, and for what its runs ended; None if there is nothing to say."""
    contrast = cell.metrics[comparison.metric].contrast
    parts = [contrast.note] if contrast is not None and contrast.note is not None else []
    for seed, run in zip(cell.seeds, cell.outcomes, strict=True):
        if run.status in _ENDED:
            parts.append(f"seed {seed} {run.status}: {_reason(run)}")
    return "; ".join(parts) or None


def _reading(comparison: Comparison) -> Iterable[str]:
    contrasts = [contrast for cell in comparison.cells[1:] if (contrast := cell.metrics[comparison.metric].contrast)]
    if contrasts:
        yield "difference: the cell minus the baseline, seed by seed, averaged over the seeds"
    if any(contrast.interval for contrast in contrasts):
        yield _interval(comparison)
    yield from _verdicts(comparison)
    if interactions(comparison):
        yield "a x b: how much the effect of a changes with b; where there is such, a main effect alone misleads"
    if any(run.sd for cell in comparison.cells for run in cell.metrics.values()):
        yield "±: standard deviation (SD) over seeds, not an interval"
    if comparison.measured("training_step"):
        bench = comparison.bench
        yield (
            f"times: ratios to the baseline over {int(bench.get('processes', 0))} processes of their own, "
            f"{bench.get('rounds', 0)} interleaved rounds each, {bench.get('dropped_rounds', 0)} noisy ones dropped"
        )
    elif comparison.measured(TOKENS_PER_SECOND):
        yield (
            "tokens/s: seen while runs trained side by side, no evidence of speed; "
            f"`ablate bench {plain(comparison.grid)}` measures it"
        )


def _interval(comparison: Comparison) -> str:
    seeds = plural(len(comparison.seeds), "seed")
    if not comparison.looks:
        return f"95 % interval: paired t over {seeds}, of each comparison alone"
    looks = ", ".join(map(str, comparison.looks))
    return f"interval: paired t at what its look may spend (looks planned at {looks} seeds), of each comparison alone"


def _verdicts(comparison: Comparison) -> Iterable[str]:
    found = [verdict for cell in comparison.cells for metric in cell.metrics.values() if (verdict := metric.verdict)]
    if not any(verdict.interval for verdict in found):
        return
    yield "▲ better  ▼ worse  ≈ equivalent  ? undecided  = identical: tested over seeds, not by overlap of intervals"
    tested = [verdict for verdict in found if verdict.family]
    if tested:
        level = "the 5 % of all planned looks together" if comparison.looks else "5 % for the whole table"
        yield (
            f"verdicts: paired t and equivalence test, Holm over {plural(tested[0].family, 'comparison')} at {level}; "
            f"margins: {margins(comparison)}"
        )
    more = [verdict.more_seeds for verdict in found if verdict.label == "inconclusive" and verdict.more_seeds]
    if more:
        low, high = min(a for a, _ in more), max(b for _, b in more)
        what = f"{low}" if low == high else f"{low} to {high}"
        yield f"undecided: about {what} more seeds would settle it; `ablate run --until-decided` adds them"
    hopeless = dict.fromkeys(v.note for v in found if v.label == "inconclusive" and not v.more_seeds and v.note)
    yield from (f"undecided: {note}" for note in list(hopeless)[:2])


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


def _no_interval(comparison: Comparison) -> Iterable[str]:
    """Each reason once, with the cells or main effects it holds for."""
    others = comparison.cells[1:]
    cells: dict[str, list[str]] = {}
    for cell in others:
        contrast = cell.metrics[comparison.metric].contrast
        if contrast is not None and contrast.note is not None:
            cells.setdefault(contrast.note, []).append(plain(cell.label))
    for note, labels in cells.items():
        everywhere = len(labels) == len(others) > 1
        yield f"no interval — {note}" if everywhere else f"no interval for {_listed(labels)} — {note}"
    levels: dict[tuple[str, str], list[str]] = {}
    for effect in comparison.effects:
        contrast = effect.contrasts[comparison.metric]
        if contrast.note is not None and contrast.note not in cells:
            lacking = "main effect of" if contrast.delta is None else "interval for the main effect of"
            levels.setdefault((lacking, contrast.note), []).append(plain(f"{effect.name}={effect.level}"))
    for (lacking, note), labels in levels.items():
        yield f"no {lacking} {_listed(labels)} — {note}"


def _signs(comparison: Comparison) -> Iterable[str]:
    """What is worth a look in the course of the runs, each sign with the cells that show it."""
    cells: dict[str, dict[str, None]] = {}
    shown: dict[str, str] = {}
    for cell in comparison.cells:
        for run in cell.outcomes:
            for words in signs(run.stability):
                kind = re.sub(r"[-+]?[\d.]+(e[-+]?\d+)?", "#", words)
                shown.setdefault(kind, words)
                cells.setdefault(kind, {})[plain(cell.label)] = None
    for kind, labels in cells.items():
        if kind.startswith("diverged"):
            continue  # each has its own reason below
        where = "every cell" if len(labels) == len(comparison.cells) > 1 else _listed(list(labels))
        yield f"fragile: {shown[kind]} ({where})"


def _endings(comparison: Comparison) -> Iterable[str]:
    """Each reason once, with the runs that ended for it."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for cell in comparison.cells:
        for seed, run in zip(cell.seeds, cell.outcomes, strict=True):
            if run.status in _ENDED:
                groups.setdefault((run.status, _reason(run)), {}).setdefault(plain(cell.label), []).append(seed)
    for (status, reason), cells in list(groups.items())[:_MOST_ENDINGS]:
        where = [f"{label}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
                 for label, seeds in cells.items()]  # fmt: skip
        yield f"{status}: {reason} ({_listed(where)})"
    if len(groups) > _MOST_ENDINGS:
        yield f"… and {len(groups) - _MOST_ENDINGS} more reasons; the folder of each run has its own"


def _listed(names: list[str]) -> str:
    named = "; ".join(names[:_MOST_CELLS_NAMED])
    return named if len(names) <= _MOST_CELLS_NAMED else f"{named} and {len(names) - _MOST_CELLS_NAMED} more"


def _reason(run: Outcome) -> str:
    reason = plain(run.reason or "no reason given")
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"


def _instead_of_interval(contrast: Contrast, seeds: int) -> str:
    """What stands where there is no interval to show: over how many seeds the difference is, if there is one."""
    if contrast.delta is None:
        return ""
    if contrast.constant:
        return "in every seed"
    return f"over {contrast.pairs} of {plural(seeds, 'seed')}" if contrast.pairs < seeds else "no interval"
