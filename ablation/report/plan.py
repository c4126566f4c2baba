"""What ``ablate plan`` prints: the cells of a grid, their costs, and which runs are complete."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from ..config.shared import OncePerObject
from ..config.validation_error import format_value
from ..errors import InputError
from ..grid.factors import describe as describe_value
from ..plugins import reason
from ..stats.contrast import plural
from ..stats.power import POWER
from ..store.results import FINISHED
from .data import data_lines
from .labels import metric_name, plain
from .many import words_and_numbers
from .numbers import duration, grouped, in_bytes
from .provenance import matches_in_words, tuned_in_words

if TYPE_CHECKING:
    from ..config.experiment import ExperimentConfig
    from ..grid.consequences import Quantity
    from ..grid.plan import Cell, Plan, Tuning
    from ..model.counts import InferenceCost
    from ..store.runs import Store
    from ..tasks.base import Task


def describe(
    plan: "Plan",
    store: "Store",
    workers: int | None = None,
    step_seconds: "Mapping[str, float] | None" = None,
    inert: Sequence[str] = (),
) -> dict[str, Any]:
    """The cells with their sizes, costs and finished runs, and what is to be expected, as plain data.

    ``step_seconds`` are what ``study.forecast.probe`` measured, ``inert`` what ``study.inert.inert_cells`` found.
    Errors: InputError, StorageError.
    """
    from ..study.costs import Costs
    from ..study.forecast import expected_power, expected_time
    from ..study.manifest import compare_runs
    from ..study.training import n_workers

    cells: list[dict[str, Any]] = []
    costs: dict[tuple[int, int], InferenceCost] = {}
    kept = Costs(store)
    built: OncePerObject[Any, Task] = OncePerObject(lambda task: task.build())
    found = store.results(run.id for run in plan.runs)
    for cell in plan.cells:
        config = cell.runs[0].config
        model = id(config.model), id(config.task)  # cells that have one in common share the object
        try:
            if model not in costs:
                costs[model] = kept.of(config, built(config.task))
        except Exception as error:
            raise InputError(f"model: {reason(error)} (cell {cell.label})") from error
        cost = costs[model]
        results = [found[run.id] for run in cell.runs]
        seconds = [result.training_seconds for result in results if result.training_seconds is not None]
        cells.append(
            {
                "label": cell.label,
                "parameters": cell.counts.parameters,
                "flops_per_token": cost.flops_per_token,
                "cache_bytes": cost.cache_bytes,
                "cache_bytes_per_token": cost.cache_bytes_per_token,
                "training_tokens": config.training_tokens,
                "training_bytes": training_bytes(config, cell.counts.parameters),
                "states": dict(Counter(result.status for result in results)),
                "planned": len(results),
                "finished": sum(result.ended for result in results),
                "seconds_per_run": round(sum(seconds) / len(seconds), 1) if seconds else None,
            }
        )
    kept.save()
    flops = {cell["label"]: cell["flops_per_token"] * cell["training_tokens"] for cell in cells}
    time = expected_time(plan, found, flops, n_workers(plan, workers), step_seconds)
    power = None
    if any(result.ended for result in found.values()) and plan.timed and (plan.tuning is None or plan.tuning.ended):
        power = expected_power(compare_runs(plan.manifest(), store), min(len(cell.runs) for cell in plan.cells))
    return {
        "grid": plan.name,
        "metric": plan.metric,
        "time": None if time is None else time.as_dict(),
        "power": None if power is None else asdict(power),
        "inert": list(inert),
        "timed": plan.timed,
        "design": plan.design(),
        "factors": {factor.path: plan.levels(factor) for factor in plan.grid.factors},
        "levels": list(_levels(plan, built, {cell["label"]: cell["flops_per_token"] for cell in cells})),
        "seeds": list(plan.seeds),
        "data": [dict(facts) for facts in plan.data],
        "matches": [(cell.label, asdict(cell.match)) for cell in plan.cells if cell.match is not None],
        "tuning": None if plan.tuning is None else _tuning(plan.tuning, store),
        "planned": sum(cell["planned"] for cell in cells),
        "finished": sum(cell["finished"] for cell in cells),
        "cells": cells,
    }


def _tuning(tuning: "Tuning", store: "Store") -> dict[str, Any]:
    results = store.results(run.id for run in tuning.plan.runs)
    return {
        **tuning.manifest(),
        "planned": len(results),
        "finished": sum(result.ended for result in results.values()),
    }


def _levels(plan: "Plan", built: "OncePerObject[Any, Task]", flops: "Mapping[str, int]") -> Iterator[dict[str, Any]]:
    """What each level changes beside its own path, and what follows from it, in the cell that changes least else."""
    from ..grid.consequences import Consequences, compare
    from ..grid.guard import Changes

    baseline, changes, consequences = plan.cells[0], Changes(plan.cells[0]), Consequences()

    def quantities(cell: "Cell") -> "Mapping[str, Quantity]":
        config = cell.runs[0].config
        found = consequences.of(config, built(config.task), cell.counts, cell.runs[0].measured_on)
        return {"parameters": found["parameters"], "FLOPs per token": flops[cell.label], **found}

    of_baseline = quantities(baseline)
    least: dict[tuple[str, str], tuple[list[str], Cell]] = {}
    for cell in plan.cells[1:]:
        changed = [path for path, level in cell.levels.items() if level is not baseline.levels[path]]
        for path in changed:
            at = path, cell.levels[path].label
            if at not in least or len(changed) < len(least[at][0]):
                least[at] = changed, cell
    for factor in plan.grid.factors:
        for level in factor.levels:
            if (factor.path, level.label) not in least:
                continue
            changed, cell = least[factor.path, level.label]
            others = [path for path in changed if path != factor.path and cell.levels[path].settings]
            of_others = {setting.path for path in others for setting in cell.levels[path].settings}
            yield {
                "factor": factor.path,
                "level": level.label,
                "changes": [
                    {"path": change.path, "before": change.before, "after": change.after, "declared": change.declared}
                    for change in changes.of(cell)
                    if not any(f"{change.path}.".startswith(f"{path}.") for path in of_others)
                ],
                "follows": [
                    {"what": each.what, "before": each.before, "after": each.after}
                    for each in ([] if others else compare(of_baseline, quantities(cell)))  # of this level alone
                ],
            }


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def plain_line(text: str) -> str:
    """A safe line below the heading."""
    return f"  {plain(text)}"


def render(described: dict[str, Any]) -> RenderableType:
    """The same for a terminal; next to the parameters is by how much they differ from the baseline's."""
    missing = described["planned"] - described["finished"]
    heading = f"{described['grid']}: {described['planned']} runs, {described['finished']} finished, {missing} to train"
    states = Counter[str]()
    for cell in described["cells"]:
        states.update(cell["states"])
    if others := [f"{count} {state}" for state, count in states.items() if state not in (*FINISHED, "missing")]:
        heading += f" ({', '.join(others)})"
    lines: list[RenderableType] = [Text(plain_line(line)) for line in _expected(described, missing)]
    lines += [_tree(described, path) for path, levels in described["factors"].items() if len(levels) > 1]
    design = described["design"]
    lines.append(Text(f"  design: {design['name']}" + (f"; {design['uncrossed']}" if design["uncrossed"] else "")))
    if design["confounded"]:
        groups = "; ".join(" = ".join(group) for group in design["confounded"])
        lines.append(Text(plain_line(f"confounded: {groups}")))
    for one in design["conditions"]:
        lines.append(Text(plain_line(f"{one['factor']}: only with {one['label']}")))
    for one in design["overrides"]:
        also = ", ".join(f"{path} {format_value(value)}" for path, value in one["set"].items())
        lines.append(Text(plain_line(f"{one['label']} also sets {also}")))
    lines += [
        Text(plain_line(f"excluded: {one['label']} ({plural(one['cells'], 'cell')}){_because(one['reason'])}"))
        for one in design["excluded"]
    ]
    if not described["timed"]:
        lines.append(
            Text(plain_line("not matched in time yet: `ablate run` times a training step of every cell first"))
        )
    if described["matches"]:
        lines.append(Text(plain_line(f"matched by {matches_in_words(described['matches'])}")))
    if (tuning := described["tuning"]) is not None:
        line = f"tuning: {tuned_in_words(tuning)}; {tuning['finished']} of {plural(tuning['planned'], 'run')} finished"
        lines.append(Text(plain_line(line)))
    lines += [Text(plain_line(line)) for line in data_lines(described["data"])]
    titles = ["cell", "parameters", "", "FLOPs/\ntoken", "cache B", "cache B/\ntoken", "runs"]
    of_baseline = described["cells"][0]["parameters"]
    rows = [[plain(cell["label"]), *_numbers(cell, of_baseline)] for cell in described["cells"]]
    parts: list[RenderableType] = [Text(heading, style="bold"), *lines, Text(), words_and_numbers(titles, rows)]
    if any(cell["cache_bytes"] is not None for cell in described["cells"]):
        note = "cache: of one sequence of the task's length in 32-bit numbers, and what one more token adds to it."
        parts.append(Text(note, style="dim"))
    if any(cell["parameters"] != of_baseline for cell in described["cells"]):
        note = "Where parameters differ from the baseline's, the comparison is also one of sizes."
        parts.append(Text(note, style="dim"))
    return Group(*parts)


def _expected(described: dict[str, Any], missing: int) -> Iterator[str]:
    """What one run is, how long those that are missing take, and what the seeds can show."""
    tokens, sizes = ([cell[name] for cell in described["cells"]] for name in ("training_tokens", "training_bytes"))
    yield (
        f"each run: {_range(tokens, grouped)} tokens; {_range(sizes, in_bytes)} for weights, gradients and the "
        "optimizer, activations apart"
    )
    time, power = described["time"], described["power"]
    if time is not None and missing:
        line = f"time: about {duration(time['seconds'])} with {plural(time['workers'], 'run')} at once"
        if time["most"] is not None:
            label, part, ratio = time["most"]
            line += f"; most of it {plain(label)}: {100 * part:.0f} %, {ratio:.1f} times the baseline's time a run"
        yield f"{line} (from {time['source']})"
    if described["inert"]:
        yield f"no effect: the first steps are those of the baseline with {'; '.join(map(plain, described['inert']))}"
    if power is not None:
        line = (
            f"{plural(power['seeds'], 'seed')} detect differences in {metric_name(described['metric'])} of "
            f"{power['detectable']:.2g} or more with {100 * POWER:g} % power, at the noise of the runs so far"
        )
        if power["conclusive"] is not None:
            line += f"; a change without effect is found equivalent with {100 * power['conclusive']:.0f} %"
        yield line


def _range(values: list[int], written: "Callable[[int], str]") -> str:
    low, high = written(min(values)), written(max(values))
    return low if low == high else f"{low} to {high}"


def training_bytes(config: "ExperimentConfig", parameters: int) -> int:
    """What training keeps of the parameters: weights, gradients and the state of the optimizer."""
    from ..model.size import Training

    numbers = 8 if config.training.precision == "64-true" else 4
    return int(Training(config.optimizer.component.state_per_parameter, numbers).n_bytes(parameters, 0))


def _tree(described: dict[str, Any], path: str) -> RenderableType:
    """A factor with its levels, the baseline's first, and what each changes beside its own path."""
    first, texts = described["factors"][path][0], []
    for level in described["levels"]:
        if level["factor"] == path:
            text = Text(plain(level["level"]))
            if changes := [_change(each) for each in level["changes"] if each["path"] not in (path, f"{path}.name")]:
                text.append(f": {', '.join(changes)}")
            if follows := [_follows(each) for each in level["follows"]]:
                text.append(f"; so {', '.join(follows)}", "dim")
            texts.append((text, bool(changes or follows)))
    if not any(says_more for _, says_more in texts):
        return Text(plain_line(f"{path}: {', '.join([first, *(text.plain for text, _ in texts)])}"))
    tree = Tree(Text(f"{plain(path)}: {plain(first)}"), guide_style="dim")
    for text, _ in texts:
        tree.add(text)
    return Padding(tree, (0, 0, 0, 2))


def _change(change: dict[str, Any]) -> str:
    mark = "" if change["declared"] else "undeclared "
    return (
        f"{mark}{plain(change['path'].removesuffix('.name'))} {_value(change['before'])} -> {_value(change['after'])}"
    )


def _follows(each: dict[str, Any]) -> str:
    if each["after"] is None:
        return f"no {each['what']}"
    before, after = (_value(each[side]) for side in ("before", "after"))
    return f"{each['what']} {after}" if each["before"] is None else f"{each['what']} {before} -> {after}"


def _value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return grouped(value)
    return plain(value if isinstance(value, str) else describe_value(value))


def _numbers(cell: dict[str, Any], of_baseline: int) -> list[str]:
    difference = cell["parameters"] / of_baseline - 1
    cache = [cell["cache_bytes"], cell["cache_bytes_per_token"]]
    return [
        grouped(cell["parameters"]),
        f"{difference:+.1%}" if difference else "",
        grouped(cell["flops_per_token"]),
        *("none" if count is None else grouped(count) for count in cache),
        f"{cell['finished']}/{cell['planned']}",
    ]
