"""The sentence above everything else: what came out, under each lens."""

from collections import Counter
from collections.abc import Iterable

from ..compare.records import Comparison
from ..stats.contrast import plural
from .labels import listed, metric_name, plain


def summary(comparison: Comparison) -> str:
    """What came out, under each lens, in one or two sentences."""
    return " ".join(_sentences(comparison))


def _sentences(comparison: Comparison) -> Iterable[str]:
    changes = comparison.cells[1:]
    ended = sum(run.ended for cell in comparison.cells for run in cell.results)
    planned = sum(len(cell.results) for cell in comparison.cells)
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
        yield f"{runs} diverged ({listed([f'{count} of {label}' for label, count in diverged.items()])})."
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
    if only := _only_value(comparison, name):
        return only
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


def _only_value(comparison: Comparison, name: str) -> str | None:
    """Of a measure that is one number in all runs, as where no model has learned anything or all have everything."""
    values = [cell.metrics[name].values for cell in comparison.cells]
    found = {value for of_cell in values for value in of_cell if value is not None}
    if len(found) != 1 or all(value is None for of_cell in values[1:] for value in of_cell):
        return None
    having = "" if all(None not in of_cell for of_cell in values) else " that has one"
    what = metric_name(name)
    return f"{what[0].upper()}{what[1:]} is {found.pop():g} in every run{having}: nothing can be told from it."
