"""What ``ablate plan`` prints: the cells of a grid, their costs, and which runs are complete."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from ..config.validation_error import format_value
from ..grid.factors import describe as describe_value
from ..stats.contrast import plural
from ..store.planned_cell import PlannedCell
from ..store.results import FINISHED
from .data import data_lines
from .labels import listed, plain
from .many import words_and_numbers
from .numbers import duration, grouped, in_bytes
from .provenance import detected, matches_in_words, tuned_in_words


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _line(text: str) -> RenderableType:
    """A safe line below the heading, which stays indented where it is broken."""
    return Padding(Text(plain(text)), (0, 0, 0, 2))


def render(described: dict[str, Any]) -> RenderableType:
    """The same for a terminal; next to the parameters is by how much they differ from the baseline's."""
    missing = described["planned"] - described["finished"]
    cells: Sequence[PlannedCell] = described["cells"]
    heading = f"{described['grid']}: {described['planned']} runs, {described['finished']} finished, {missing} to train"
    states = Counter[str]()
    for cell in cells:
        states.update(cell.states)
    if others := [f"{count} {state}" for state, count in states.items() if state not in (*FINISHED, "missing")]:
        heading += f" ({', '.join(others)})"
    lines: list[RenderableType] = [_line(described["question"])] if described["question"] else []
    lines += [_line(line) for line in _expected(described, missing)]
    lines += [_tree(described, path) for path, levels in described["factors"].items() if len(levels) > 1]
    design = described["design"]
    lines.append(_line(f"design: {design['name']}" + (f"; {design['uncrossed']}" if design["uncrossed"] else "")))
    if design["confounded"]:
        groups = "; ".join(" = ".join(group) for group in design["confounded"])
        lines.append(_line(f"confounded: {groups}"))
    for one in design["conditions"]:
        lines.append(_line(f"{one['factor']}: only with {one['label']}"))
    for one in design["overrides"]:
        also = ", ".join(f"{path} {format_value(value)}" for path, value in one["set"].items())
        lines.append(_line(f"{one['label']} also sets {also}"))
    lines += [
        _line(f"excluded: {one['label']} ({plural(one['cells'], 'cell')}){_because(one['reason'])}")
        for one in design["excluded"]
    ]
    if not described["timed"]:
        lines.append(_line("not matched in time yet: `ablate run` times a training step of every cell first"))
    if described["matches"]:
        lines.append(_line(f"matched by {matches_in_words(described['matches'])}"))
    if (tuning := described["tuning"]) is not None:
        line = f"tuning: {tuned_in_words(tuning)}; {tuning['finished']} of {plural(tuning['planned'], 'run')} finished"
        lines.append(_line(line))
    lines += [_line(line) for line in data_lines(described["data"])]
    lines += [_line(line) for line in _trained(cells)]
    titles = ["cell", "runs", "parameters", "", "FLOPs/\ntoken", "cache B", "cache B/\ntoken"]
    of_baseline = cells[0].parameters
    rows = [[plain(cell.label), *_numbers(cell, of_baseline)] for cell in cells]
    parts: list[RenderableType] = [Text(heading, style="bold"), *lines, Text(), words_and_numbers(titles, rows)]
    if any(cell.cache_bytes is not None for cell in cells):
        note = "cache: of one sequence of the task's length in 32-bit numbers, and what one more token adds to it."
        parts.append(Text(note, style="dim"))
    if any(cell.parameters != of_baseline for cell in cells):
        note = "Where parameters differ from the baseline's, the comparison is also one of sizes."
        parts.append(Text(note, style="dim"))
    return Group(*parts)


def _expected(described: dict[str, Any], missing: int) -> Iterator[str]:
    """What one run is, how long those that are missing take, and what the seeds can show."""
    cells: Sequence[PlannedCell] = described["cells"]
    tokens, sizes = [cell.training_tokens for cell in cells], [cell.training_bytes for cell in cells]
    at_most = "at most " if any(cell.stops_early for cell in cells) else ""
    yield (
        f"each run: {at_most}{_range(tokens, grouped)} tokens; {_range(sizes, in_bytes)} for weights, gradients and "
        "the optimizer, without activations"
    )
    time, power = described["time"], described["power"]
    if time is not None and (missing or time["seconds_before"]):
        line = f"time: about {duration(time['seconds'])} with {plural(time['workers'], 'run')} at once"
        if time["seconds_before"]:
            line += f", {duration(time['seconds_before'])} of it for tuning and controls"
        if time["most"] is not None:
            label, part, ratio = time["most"]
            line += (
                f"; the largest part is {plain(label)}: {100 * part:.0f} %, {ratio:.1f} times the baseline's time a run"
            )
        yield f"{line} (from {time['source']})"
    if described["sees_later"]:
        yield f"not causal: tokens are predicted from later ones in {'; '.join(map(plain, described['sees_later']))}"
    if described["inert"]:
        yield f"no effect: the first steps are those of the baseline with {'; '.join(map(plain, described['inert']))}"
    if power is not None:
        line = (
            f"{plural(power['seeds'], 'seed')} detect {detected(power['detectable'], described['metric'])}, at the "
            "median noise of the cells so far"
        )
        if power["conclusive"] is not None:
            probability = f"{100 * power['conclusive']:.0f} %"
            line += f"; a change without effect is found equivalent with a probability of {probability}"
        yield line


def _trained(cells: Sequence[PlannedCell]) -> Iterator[str]:
    """How many parameters are trained, where they are not all, with the cells for which they are as many."""
    labels: dict[tuple[int, int], list[str]] = {}
    for cell in cells:
        if cell.trained_parameters is not None:
            labels.setdefault((cell.trained_parameters, cell.parameters), []).append(plain(cell.label))
    for (trained, parameters), of in labels.items():
        where = "every cell" if len(of) == len(cells) else listed(of)
        yield f"trained: {grouped(trained)} parameters; the model has {grouped(parameters)} ({where})"


def _range(values: list[int], written: "Callable[[int], str]") -> str:
    low, high = written(min(values)), written(max(values))
    return low if low == high else f"{low} to {high}"


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
        return _line(f"{path}: {', '.join([first, *(text.plain for text, _ in texts)])}")
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


def _numbers(cell: PlannedCell, of_baseline: int) -> list[str]:
    difference = cell.parameters / of_baseline - 1
    cache = [cell.cache_bytes, cell.cache_bytes_per_token]
    return [
        f"{cell.finished}/{cell.planned}",
        grouped(cell.parameters),
        f"{difference:+.1%}" if difference else "",
        grouped(cell.flops_per_token),
        *("none" if count is None else grouped(count) for count in cache),
    ]
