"""The summary above a table: the result under each lens, in one to three sentences."""

from collections import Counter
from collections.abc import Iterable

from ..compare.controls import A_A
from ..compare.importance import importance
from ..compare.noise import noise_floor
from ..compare.records import Comparison, Control
from ..stats.contrast import plural
from . import caveats, numbers
from .labels import depends, effects, listed, metric_name, plain

_NAMED, _MOST_NAMED = ("better", "worse"), 3
"""Main effects of these verdicts are named, where they are not more."""


def summary(comparison: Comparison) -> str:
    """The result under each lens in one to three sentences, and what weakens all of it."""
    return " ".join([*_controls(comparison), *_summary(comparison), *caveats.sentences(comparison)])


def _summary(comparison: Comparison) -> Iterable[str]:
    changes = comparison.cells[1:]
    if comparison.left_out:
        total = plural(len(changes) + comparison.left_out, "change")
        about = (
            f"all that is said is about these, and verdicts are corrected for all {len(changes) + comparison.left_out}"
        )
        yield f"Filtered: {len(changes)} of {total} are shown; {about}."
    ended = sum(run.ended for cell in comparison.cells for run in cell.results)
    planned = sum(len(cell.results) for cell in comparison.cells)
    if not ended:
        yield f"None of {plural(planned, 'run')} has ended yet."
        return
    if ended < planned:
        failed = sum(cell.count("failed") for cell in comparison.cells)
        yield f"Partial: {ended} of {planned} runs have {f'a result, {failed} failed' if failed else 'ended'}."
    if changes and comparison.design.get("name") == "screen":
        yield _screened(comparison)
    elif changes and (strengths := importance(comparison)):
        name, rho = next(iter(strengths.items()))
        followed = f"{metric_name(comparison.metric)} follows {plain(name)} most"
        yield f"Over the ranges {followed}: rank correlation {rho:+.2f} over {plural(len(comparison.cells), 'cell')}."
    elif changes:
        yield _counted(comparison, comparison.metric, ("improve", "improves"), ("worsen", "worsens"))
        yield from _main_effects(comparison)
    diverged = {plain(cell.label): cell.count("diverged") for cell in comparison.cells if cell.count("diverged")}
    if diverged:
        runs = plural(sum(diverged.values()), "run")
        of_cells = [f"{count} of {label}" for label, count in diverged.items()]
        more = "; and those of other cells" if len(of_cells) > _MOST_NAMED else ""
        yield f"{runs} diverged ({'; '.join(of_cells[:_MOST_NAMED])}{more})."
    else:
        yield "No run diverged."
    if not comparison.measured("training_step"):
        yield "Speed was not benchmarked."
    elif changes:
        yield _counted(comparison, "training_step", ("speed up", "speeds up"), ("slow down", "slows down"))


def _controls(comparison: Comparison) -> Iterable[str]:
    """The outcomes of the controls, which come first."""
    known = [control for control in comparison.controls if control.passed is not None]
    if not comparison.controls:
        return
    heading = "Controls passed" if known else "Controls"
    if not all(control.passed for control in known):
        heading = "CONTROLS FAILED"
    parts = [_control(comparison, control) for control in known]
    parts += [_without_outcome(control) for control in comparison.controls if control.passed is None]
    yield f"{heading}: {'; '.join(parts)}."


def _without_outcome(control: Control) -> str:
    """``A/A has no outcome (2 seeds: an interval needs 3)``."""
    reason = control.contrast.reason_missing if control.contrast is not None else None
    return f"{control.label} has no outcome ({reason or 'its run has not ended'})"


def _control(comparison: Comparison, control: Control) -> str:
    """``A/A +0.003 [-0.010, +0.016]``, ``the same run again gave the same numbers``."""
    contrast = control.contrast
    if contrast is None:
        differs = f"other numbers ({listed([metric_name(name) for name in control.differs])})"
        return f"the {control.label} gave {'the same numbers' if control.passed else differs}"
    difference, interval = numbers.difference(contrast, 0)
    words = ("no difference", "a difference") if control.label == A_A else ("worse", "not found worse")
    found = words[0] if control.passed else words[1]
    return f"{control.label} {found} ({f'{difference} {interval}'.rstrip()})"


def _counted(comparison: Comparison, name: str, gains: tuple[str, str], losses: tuple[str, str]) -> str:
    """``2 of 7 changes improve loss, 1 worsens it; 4 inconclusive.``"""
    verdicts = [cell.metrics[name].verdict for cell in comparison.cells[1:]]
    if not any(verdicts):
        return f"There are no verdicts on {metric_name(name)}."
    if comparison.measures[name].lens == "quality" and comparison.baseline.diverged:
        learned = sum(not cell.diverged for cell in comparison.cells[1:])
        return f"Every run of the baseline diverged; {learned} of {plural(len(verdicts), 'change')} learned something."
    if sentence := _constant(comparison, name):
        return sentence
    counts = Counter[str]("inconclusive" if verdict is None else verdict.label for verdict in verdicts)
    what = {"training_step": "a training step"}.get(name, metric_name(name))
    parts = [
        f"{counts[label]} {words[counts[label] == 1]} {{}}"
        for label, words in (("better", gains), ("worse", losses))
        if counts[label]
    ]
    if not parts:
        who, does, is_ = f"none of the {len(verdicts)} changes", f"{gains[1]} or {losses[1]}", "is"
        if len(verdicts) == 1:
            who, does, is_ = "the change", f"does not {gains[0]} or {losses[0]}", "is not"
        if counts["equivalent"] + counts["identical"] != len(verdicts):
            does = f"{is_} shown to {gains[0]} or {losses[0]}"
        small = " by more than the margin" if any(verdict and verdict.within_margin for verdict in verdicts) else ""
        parts = [f"{who} {does} {{}}{small}"]
    else:
        first, _, rest = parts[0].partition(" ")
        of = f"{first} of {plural(len(verdicts), 'change')}"
        if first == str(len(verdicts)):
            of = {"1": "the change", "2": "both changes"}.get(first, f"all {first} changes")
        parts[0] = f"{of} {rest}"
    parts = [part.format("it" if index else what) for index, part in enumerate(parts)]
    same = counts["equivalent"] + counts["identical"]
    others = [f"{same} {'makes' if same == 1 else 'make'} no difference that matters"] if same else []
    if counts["diverged"]:
        others.append(f"{counts['diverged']} diverged")
    if counts["inconclusive"]:
        others.append(f"{counts['inconclusive']} inconclusive")
    sentence = "; ".join([", ".join(parts), *others])
    return f"{sentence[0].upper()}{sentence[1:]}."


def _screened(comparison: Comparison) -> str:
    """What of a screen deserves a closer look."""
    floor = noise_floor(comparison)
    if floor is None:
        return "A screen needs 3 seeds of the baseline or more, to know its noise."
    beyond = [f"{plain(label)} {difference:+.2g}" for label, difference in floor.outside.items()]
    of = f"{len(beyond)} of {plural(floor.changes, 'change')} in {metric_name(comparison.metric)}"
    found = f": {'; '.join(beyond)}" if beyond else ""
    return f"Outside the noise floor of ±{floor.bound:.2g} {'is' if len(beyond) == 1 else 'are'} {of}{found}."


def _main_effects(comparison: Comparison) -> Iterable[str]:
    """``Main effects: norm=rms_norm better; 1 inconclusive.``, where all were tested and one is more than inconclusive.

    One that depends on another factor is neither better nor worse.
    """
    found: dict[str, list[str]] = {word: [] for word in _NAMED}
    for effect in effects(comparison):
        if effect.verdict is None:
            return
        word = "dependent on another factor" if depends(comparison, effect) else effect.verdict.label
        found.setdefault(word, []).append(plain(f"{effect.name}={effect.level}"))
    said = {word: names for word, names in found.items() if names}
    if said.keys() - {"inconclusive"}:
        parts = (
            f"{', '.join(names) if word in _NAMED and len(names) <= _MOST_NAMED else len(names)} {word}"
            for word, names in said.items()
        )
        yield f"Main effects: {'; '.join(parts)}."


def _constant(comparison: Comparison, name: str) -> str | None:
    """A sentence on a measure with the same value in all runs, as where no model has learned anything; else None."""
    values = [cell.metrics[name].values for cell in comparison.cells]
    distinct = {value for of_cell in values for value in of_cell if value is not None}
    if len(distinct) != 1 or all(value is None for of_cell in values[1:] for value in of_cell):
        return None
    having = "" if all(None not in of_cell for of_cell in values) else " with a result"
    what = metric_name(name)
    return (
        f"{what[0].upper()}{what[1:]} is {distinct.pop():g} in every run{having}, so it cannot distinguish the cells."
    )
