"""What the formats for people say in words, the same in each: heading, counts of runs, notes below the table."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from ..analysis import CellComparison, Comparison, Contrast, Effect, Outcome
from ..analysis.comparison import PARAMETERS, TOKENS_PER_SECOND, Status
from ..analysis.contrast import plural
from . import numbers

MORE, LESS, UNDECIDED = "↑", "↓", "·"

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
    return f"{name}, {comparison.better} ({LESS if comparison.better == 'lower' else MORE}) is better"


def size(comparison: Comparison) -> str:
    """``8 cells, 3 seeds``."""
    return f"{plural(len(comparison.cells), 'cell')}, {plural(len(comparison.seeds), 'seed')}"


def sign(contrast: Contrast) -> str:
    """An arrow if the interval excludes zero, a dot if it does not, nothing without an interval."""
    if contrast.interval is None or contrast.delta is None:
        return ""
    if not contrast.excludes_zero:
        return UNDECIDED
    return MORE if contrast.delta > 0 else LESS


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


def effect(effect: Effect) -> str:
    """``block: post_norm against pre_norm``."""
    return plain(f"{effect.name}: {effect.level} against {effect.baseline}")


def cost(comparison: Comparison, cell: CellComparison, name: str, in_full: bool = True) -> str:
    """Parameters; or tokens per second with their ratio to the baseline, in the short form the ratio alone."""
    mean, reference = cell.metrics[name].mean, comparison.baseline.metrics[name].mean
    if mean is None:
        return numbers.ABSENT
    if name == PARAMETERS:
        return numbers.grouped(mean) if in_full else numbers.short(mean)
    if cell is comparison.baseline or not reference:
        return numbers.short(mean)
    ratio = numbers.ratio(mean, reference)
    return f"{numbers.short(mean)} {ratio}" if in_full else ratio


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
        *_endings(comparison),
    ]


def cell_note(comparison: Comparison, cell: CellComparison) -> str | None:
    """Of one cell: why its difference has no interval, and for what its runs ended; None if there is nothing to say."""
    contrast = cell.metrics[comparison.metric].contrast
    parts = [contrast.note] if contrast is not None and contrast.note is not None else []
    for seed, run in zip(comparison.seeds, cell.outcomes, strict=True):
        if run.status in _ENDED:
            parts.append(f"seed {seed} {run.status}: {_reason(run)}")
    return "; ".join(parts) or None


def _reading(comparison: Comparison) -> Iterable[str]:
    contrasts = [contrast for cell in comparison.cells[1:] if (contrast := cell.metrics[comparison.metric].contrast)]
    intervals = sum(contrast.interval is not None for contrast in contrasts)
    seeds = plural(len(comparison.seeds), "seed")
    if contrasts:
        yield "difference: the cell minus the baseline, seed by seed, averaged over the seeds"
    if intervals:
        alone = "" if intervals == 1 else f"; no correction for {intervals} comparisons"
        yield f"{LESS} {MORE} the interval excludes 0;  {UNDECIDED} it does not"
        yield f"95 % interval: paired t over {seeds}{alone}"
    if any(run.sd for cell in comparison.cells for run in cell.metrics.values()):
        yield "±: standard deviation (SD) over seeds, not an interval"
    if comparison.measured(TOKENS_PER_SECOND):
        yield "tokens/s: seen while runs trained side by side; no evidence of speed"


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


def _endings(comparison: Comparison) -> Iterable[str]:
    """Each reason once, with the runs that ended for it."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for cell in comparison.cells:
        for seed, run in zip(comparison.seeds, cell.outcomes, strict=True):
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
