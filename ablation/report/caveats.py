"""What weakens a whole table: seeds added after a look, a metric chosen afterwards, runs of several versions of code
or from several kinds of hardware.

Each is a sentence of the summary above the table, and a line below it that says what it means.
"""

from collections import Counter
from collections.abc import Iterable, Sized

from ..compare.records import Comparison
from ..stats.contrast import plural
from ..store.results import VARIANTS, RunResult
from .labels import listed, metric_name, plain
from .provenance import HARDWARE, VERSIONS, records

PARTS = tuple(part for part in (*HARDWARE, *VERSIONS) if part not in ("host", "threads", "ablation"))
"""Of the record of a run, what may change its numbers, and is neither in its id nor in the version of its code."""


def sentences(comparison: Comparison) -> Iterable[str]:
    """For the summary above the table."""
    if comparison.seen:
        shown = f"Verdicts were already shown at {_numbers(comparison.seen)} seeds"
        yield f"{shown}, so false verdicts are no longer limited to 5 %."
    if comparison.more_seeds is not None:
        yield f"These runs were compared at {comparison.more_seeds} seeds before: `--seeds {comparison.more_seeds}`."
    if comparison.settings:
        yield f"Given to the command, not in the file: {plain(', '.join(comparison.settings))}."
    for change in comparison.changed:
        yield f"Changed after {plural(change['after'], 'run')} had ended: {', '.join(map(plain, change['what']))}."
    if not_declared(comparison):
        yield f"The grid declares {_declared(comparison)}, not {metric_name(comparison.metric)}."
    if mixed := mixed_code(comparison):
        runs = f"{len(mixed)} of {plural(len(_trained(comparison)), 'run')}"
        yield f"{runs} {_were(mixed)} trained by another version of the code."
    if elsewhere := mixed_hardware(comparison):
        runs = f"{len(elsewhere)} of {plural(len(_recorded(comparison)), 'run')}"
        yield f"{runs} {_were(elsewhere)} trained on other hardware or by other versions of libraries."


def notes(comparison: Comparison) -> Iterable[str]:
    """For the lines below the table."""
    if comparison.seen:
        yield (
            f"seen at {_numbers(comparison.seen)} seeds before: adding seeds after a look makes false differences more "
            "likely (looks at 5, 8 and 12 find one in 10 % of comparisons where there is none, instead of 5 %); looks "
            "that are planned beforehand, by `interim_looks` or --until-decided, keep to the 5 %"
        )
    if not_declared(comparison):
        yield (
            f"not declared: {metric_name(comparison.metric)} is one of {n_choices(comparison)} measures of quality, "
            f"where the grid declares {_declared(comparison)}; choosing among measures after the runs finds a false "
            "difference in more than 5 % of tables (among 8 measures in 15 to 27 %)"
        )
    if comparison.changed:
        yield (
            "changed: metric, margins, cells, seeds and looks are registered before the first run; changing them after "
            "results were seen makes false differences more likely than 5 %"
        )
    yield from _code(comparison)
    yield from _hardware(comparison)


def not_declared(comparison: Comparison) -> bool:
    """Whether the table is by another metric than the grid's own."""
    return comparison.declared_metric not in (None, comparison.metric, comparison.instead_of)


def n_choices(comparison: Comparison) -> int:
    """How many measures of quality could have been chosen: those that have a better direction, at the end of training.

    The chosen one is among them, whatever it is.
    """
    directed = {
        name
        for name in comparison.names
        if comparison.measures[name].lens == "quality"
        and comparison.measures[name].better is not None
        and not name.endswith(VARIANTS)
        and comparison.measured(name)
    }
    return len(directed | {comparison.metric})


def mixed_code(comparison: Comparison) -> dict[str, str]:
    """The labels of the runs, by their ids, that were trained by another version of the code than most of them."""
    parts: dict[str, Counter[str]] = {}
    for cell in comparison.cells:
        for run in cell.results:
            for part, version in run.code.items():
                parts.setdefault(part, Counter())[version] += 1
    if all(len(versions) == 1 for versions in parts.values()):
        return {}
    usual = {part: versions.most_common(1)[0][0] for part, versions in parts.items()}
    return {
        run.id: label
        for label, run in _trained(comparison)
        if any(version != usual[part] for part, version in run.code.items())
    }


def _code(comparison: Comparison) -> Iterable[str]:
    mixed, trained = mixed_code(comparison), _trained(comparison)
    if mixed:
        where = listed(list(dict.fromkeys(mixed.values())))
        yield (
            f"code: {len(mixed)} of {plural(len(trained), 'run')} ({where}) {_were(mixed)} trained by another version "
            "than the others, so that a difference may come from the code; `ablate run --retry stale_code` trains them "
            "again"
        )
    stale = [label for label, run in trained if run.stale_code]
    if stale and not mixed:
        everywhere = len(stale) == len(trained)
        where = "" if everywhere else f" ({listed(list(dict.fromkeys(stale)))})"
        yield (
            f"code: {len(stale)} of {plural(len(trained), 'run')}{where} {_were(stale)} trained by other code than "
            "today's; `ablate run --retry stale_code` trains them again"
        )


def mixed_hardware(comparison: Comparison) -> dict[str, str]:
    """The labels of the runs, by their ids, that most runs differ from in hardware or in versions of libraries.

    What the grid varies itself, such as ``training.precision``, is left out; so is the host, as equal ones have names
    of their own.
    """
    parts = _parts_that_differ(comparison)
    if not parts:
        return {}
    recorded = _recorded(comparison)
    counts = {part: Counter(run.record.get(part) for _, run in recorded if part in run.record) for part in parts}
    usual = {part: count.most_common(1)[0][0] for part, count in counts.items()}
    return {
        run.id: label
        for label, run in recorded
        if any(run.record.get(part, usual[part]) != usual[part] for part in parts)
    }


def _hardware(comparison: Comparison) -> Iterable[str]:
    if mixed := mixed_hardware(comparison):
        values = records(comparison)
        parts = "; ".join(f"{part} {', '.join(values[part])}" for part in _parts_that_differ(comparison))
        where = listed(list(dict.fromkeys(mixed.values())))
        runs = f"{len(mixed)} of {plural(len(_recorded(comparison)), 'run')} ({where})"
        yield (
            f"hardware: {runs} {_were(mixed)} trained on other hardware or by other versions of libraries than the "
            f"others ({parts}), so that a difference may come from there, above all one in time"
        )


def _parts_that_differ(comparison: Comparison) -> list[str]:
    varied = {str(factor["path"]).removeprefix("training.") for factor in comparison.factors}
    found = records(comparison)
    return [part for part in PARTS if len(found[part]) > 1 and part not in varied]


def _declared(comparison: Comparison) -> str:
    return metric_name(comparison.declared_metric or "")


def _were(runs: Sized) -> str:
    return "was" if len(runs) == 1 else "were"


def _trained(comparison: Comparison) -> list[tuple[str, RunResult]]:
    """Label and result of every run whose code is known."""
    labels = [plain(cell.label) for cell in comparison.cells]
    return [(label, run) for label, cell in zip(labels, comparison.cells, strict=True)
            for run in cell.results if run.code]  # fmt: skip


def _recorded(comparison: Comparison) -> list[tuple[str, RunResult]]:
    """Label and result of every run whose hardware is known."""
    return [(plain(cell.label), run) for cell in comparison.cells for run in cell.results if run.record]


def _numbers(seeds: Iterable[int]) -> str:
    *first, last = map(str, seeds)
    return f"{', '.join(first)} and {last}" if first else last
