"""The rules of a claim, which keep what was chosen apart from what is tested.

Pilot seeds are no reporting seeds; each arm gets the same search, and a rate at the edge of it is no best rate; seeds
that are added spend alpha; "supported" has been replicated twice on seeds that nobody had seen. What breaks a rule is
refused, or marked where only the runs show it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ..compare.claim import ClaimResult, find_cell
from ..compare.measures import EXACT
from ..stats.contrast import plural
from ..store.files import write_json
from ..store.schemas import ANSWERS, read_checked
from ..yaml import KeyPath

if TYPE_CHECKING:
    from ..compare.records import CellComparison, Comparison
    from ..grid.file import Grid
    from ..grid.plan import Plan
    from ..grid.schema import Answer, ClaimConfig
    from ..store.runs import Store

REPLICATIONS = 2
"""How many replications have to come out "supported" before a file may say so."""
MIN_SWEPT = 3
"""Rates of an arm within the grid from which on they are its search."""
LARGEST_SEED = 2**31


def refuse_broken_rules(plan: "Plan", comparison: "Comparison", trained: Collection[str]) -> None:
    """Check what the file alone shows; ``trained`` are the measures that rest on trained models.

    Errors: InputError, one line with file, line and key.
    """
    claim = _claim(plan)
    for path, what in (
        *_bad_seeds(claim, plan.seeds, plan.interim_looks),
        *_bad_answer(claim),
        *_bad_search(plan, comparison, trained),
    ):
        raise plan.grid.document.error(path, what)


def fresh_grid(grid: "Grid", seed: int) -> "Grid":
    """The grid on as many seeds as in its file, derived from ``seed``, none of them a pilot's or a reporting seed."""
    from dataclasses import replace

    from ..rng import derive

    config = grid.config
    assert config.claim is not None
    n_seeds = config.seeds if isinstance(config.seeds, int) else len(config.seeds)
    seen = {*(config.claim.pilot_seeds or ()), *(range(n_seeds) if isinstance(config.seeds, int) else config.seeds)}
    seeds: list[int] = []
    number = 0
    while len(seeds) < n_seeds:
        candidate = derive(seed, "fresh seeds", config.name, number) % LARGEST_SEED
        if candidate not in seen:
            seeds.append(candidate)
            seen.add(candidate)
        number += 1
    return replace(grid, config=config.model_copy(update={"seeds": seeds, "name": f"{config.name}-fresh-{seed}"}))


def notes(plan: "Plan", comparison: "Comparison", trained: Collection[str]) -> Iterator[str]:
    """What speaks against an answer: pilots without a name, rates not searched, or best at the edge of the sweep."""
    claim = _claim(plan)
    if claim.pilot_seeds is None:
        yield "the file does not name its `pilot_seeds`, so that its seeds may have been seen before"
    compared = _compared(claim, comparison, trained)
    by_arm = _rates_by_arm(comparison)
    searched = {path for search in claim.search for path, values in search.tried.items() if len(values) > 1}
    if any(len(by_arm[_arm(cell)]) < MIN_SWEPT for cell in compared) and not any(map(_is_rate, searched)):
        yield "its arms run at one learning rate, and no other was tried"
    for arm in dict.fromkeys(map(_arm, compared)):
        losses = {rate: cell.metrics[comparison.metric].mean for rate, cell in by_arm[arm].items()}
        known = {rate: loss for rate, loss in losses.items() if loss is not None}
        if len(known) < max(MIN_SWEPT, len(losses)):
            continue
        best = (max if comparison.better == "higher" else min)(known, key=lambda rate: known[rate])
        if best in (min(known), max(known)):
            levels = " ".join(f"{path.rpartition('.')[2]}={level}" for path, level in arm)
            side = "lowest" if best == min(known) else "highest"
            yield f"the best rate{f' of {levels}' if levels else ''} is {best:g}, the {side} that was tried"


def record_answer(store: "Store", plan: "Plan", result: ClaimResult) -> list[dict[str, Any]]:
    """Add an answer to those in the grid's folder; returns the earlier ones. Errors: StorageError."""
    file = store.grid_directory(plan.name) / "answers.json"
    earlier: list[dict[str, Any]] = read_checked(file, ANSWERS) or []
    runs = [run.id for run in plan.cells[0].runs]
    write_json(file, [*earlier, {"seeds": list(plan.seeds), "runs": runs, "answer": result.answer}])
    return earlier


def unlike_earlier(
    plan: "Plan",
    result: ClaimResult,
    earlier: Sequence[Mapping[str, Any]],
    fresh: int | None,
    of_the_file: bool,
) -> Iterator[str]:
    """What the ``earlier`` answers, or those in the file, say against this one.

    ``of_the_file``: whether the file's settings were used, so that its answers are about the same.
    """
    claim = _claim(plan)
    runs = [run.id for run in plan.cells[0].runs]
    fewer = [entry for entry in earlier if {*entry["runs"]} < {*runs}]
    counts = {len(entry["seeds"]) for entry in fewer} - {*plan.interim_looks}
    if counts:
        added = f"the {len(plan.seeds) - max(counts)} since then were no planned look"
        yield f"it was answered with {plural(max(counts), 'seed')} before, and {added}: declare `interim_looks`"
    if not of_the_file:
        return
    answers = [replication.answer for replication in claim.replications]
    other = next((answer for answer in answers if answer != result.answer), None)
    if fresh is not None:
        if any(replication.seed == fresh for replication in claim.replications):
            yield f"--fresh {fresh} is in the file already: these seeds have been seen"
    elif claim.answer not in (None, result.answer) and (claim.answer != "not resolved" or other is None):
        yield f"the file says {claim.answer!r}"
    elif other is not None:
        yield f"on these seeds; a replication came out {other!r}, so that the claim is not resolved"
    elif result.answer == "supported" and len(answers) < REPLICATIONS:
        yield f"on these seeds; replicated {plural(len(answers), 'time')} of {REPLICATIONS}: `--fresh SEED`"


def replication_entry(plan: "Plan", result: ClaimResult, fresh: int) -> str:
    """The line for ``replications`` of the file."""
    fingerprint = plan.data[0].get("fingerprint") if plan.data else None
    data = f", data: {str(fingerprint)[:12]}" if fingerprint else ""
    return f"{{seed: {fresh}, seeds: {len(plan.seeds)}, answer: {result.answer}{data}}}"


def _claim(plan: "Plan") -> "ClaimConfig":
    claim = plan.grid.config.claim
    assert claim is not None
    return claim


def _bad_seeds(claim: "ClaimConfig", seeds: Sequence[int], looks: Sequence[int]) -> Iterator[tuple[KeyPath, str]]:
    shared = sorted({*(claim.pilot_seeds or ())} & {*seeds})
    if shared:
        yield ("claim", "pilot_seeds"), f"{shared[0]} is among `seeds` too; what was chosen on it is not tested on it"
    if looks and len(seeds) not in looks:
        planned = ", ".join(map(str, looks))
        yield ("seeds",), f"{plural(len(seeds), 'seed')} are no planned look; a claim is tested at one of {planned}"
    for number, replication in enumerate(claim.replications):
        path = ("claim", "replications", number)
        if replication.seeds not in (len(seeds), *looks):
            what = f"was with {plural(replication.seeds, 'seed')}, the file has {len(seeds)}; run it again, or declare"
            yield path, f"{what} both as `interim_looks`"
        if replication.seed in [other.seed for other in claim.replications[:number]]:
            yield path, f"seed {replication.seed} appears twice"


def _bad_answer(claim: "ClaimConfig") -> Iterator[tuple[KeyPath, str]]:
    answers: list[Answer] = [replication.answer for replication in claim.replications]
    if claim.answer == "supported":
        if claim.pilot_seeds is None:
            yield ("claim", "answer"), "'supported' needs `pilot_seeds`: those that were seen before, or []"
        if len(answers) < REPLICATIONS:
            what = f"'supported' needs {REPLICATIONS} replications (--fresh SEED), not {len(answers)}"
            yield ("claim", "answer"), what
        elif {*answers} != {"supported"}:
            other = next(answer for answer in answers if answer != "supported")
            yield ("claim", "answer"), f"a replication came out {other!r}; it is 'not resolved'"
    if claim.answer == "contradicted" and "supported" in answers:
        yield ("claim", "answer"), "a replication came out 'supported'; it is 'not resolved'"


def _bad_search(plan: "Plan", comparison: "Comparison", trained: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """An arm without a search, with another number of settings than the rest, or at the edge of what was tried."""
    from ..config.layered import dump

    claim = _claim(plan)
    compared = _compared(claim, comparison, trained)
    n_tried: dict[str, int] = {}
    tried: dict[str, dict[str, list[Any]]] = {}
    for number, search in enumerate(claim.search):
        for arm in search.arms:
            label = find_cell(comparison, arm, f"claim.search[{number}].arms").label
            n_tried[label] = n_tried.get(label, 0) + prod(len(values) for values in search.tried.values())
            for path, values in search.tried.items():
                tried.setdefault(label, {}).setdefault(path, []).extend(values)
    by_arm = _rates_by_arm(comparison)
    searched_arms = {_arm(cell) for cell in comparison.cells if cell.label in n_tried}
    for cell in compared:
        swept = len(by_arm[_arm(cell)]) >= MIN_SWEPT
        if _arm(cell) not in searched_arms if swept and claim.search else not swept and cell.label not in n_tried:
            yield ("claim", "search"), f"says nothing of {cell.label}; each arm gets the same search"
    for label, number in n_tried.items():
        first, wanted = next(iter(n_tried.items()))
        if number != wanted:
            what = f"{plural(number, 'setting')} of {label}, {wanted} of {first}; each arm gets the same search"
            yield ("claim", "search"), what
    configs = {cell.label: dump(cell.runs[0].config) for cell in plan.cells}
    for label, of_arm in tried.items():
        for path, values in of_arm.items():
            unlike = _unlike_tried(label, path, _value_at(configs[label], path), values)
            if unlike is not None:
                yield ("claim", "search"), unlike


def _unlike_tried(label: str, path: str, value: Any, values: Sequence[Any]) -> str | None:
    """What is wrong with the value that an arm has at a path, among the values that were tried."""
    if not any(_same(value, other) for other in values):
        shown = value["name"] if isinstance(value, dict) and "name" in value else value
        return f"{label} has {path} {shown}, which was not tried: {', '.join(map(str, values))}"
    rates = sorted({float(other) for other in values}) if _is_rate(path) else []
    if len(rates) > 1 and value in (rates[0], rates[-1]):
        return f"{path} {value:g} of {label} is at the edge of what was tried, {rates[0]:g} to {rates[-1]:g}"
    return None


def _same(value: Any, written: Any) -> bool:
    """Whether a value of a resolved configuration is the one written, be it the short form of a component."""
    if isinstance(value, dict) and isinstance(written, str):
        return bool(value.get("name") == written)
    if isinstance(value, dict) and isinstance(written, dict):
        return all(key in value and _same(value[key], part) for key, part in written.items())
    if isinstance(value, list | tuple) and isinstance(written, list):
        return len(value) == len(written) and all(map(_same, value, written))
    return bool(value == written)


def _value_at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _compared(claim: "ClaimConfig", comparison: "Comparison", trained: Collection[str]) -> list["CellComparison"]:
    """The cells whose trained models the expectations compare, without repetition."""
    cells: dict[str, CellComparison] = {}
    for expectation in claim.expect:
        pairs = [expectation, *([expectation.beyond] if expectation.beyond else [])]
        for pair in pairs:
            sides = [(expectation.measure, pair.cell)]
            if expectation.number is None or pair is not expectation:
                sides.append((expectation.than_measure or expectation.measure, pair.than))
            for measure, levels in sides:
                if measure in trained and measure not in EXACT:
                    cell = find_cell(comparison, levels)
                    cells[cell.label] = cell
    return list(cells.values())


def _is_rate(path: str) -> bool:
    return path.rpartition(".")[2] == "lr"


def _arm(cell: "CellComparison") -> tuple[tuple[str, str], ...]:
    """Its levels, without that of the learning rate."""
    return tuple((path, level) for path, level in cell.levels.items() if not _is_rate(path))


def _rates_by_arm(
    comparison: "Comparison",
) -> dict[tuple[tuple[str, str], ...], dict[float, "CellComparison"]]:
    """The cells of each arm by their learning rate; none where the rate is no factor."""
    by_arm: dict[tuple[tuple[str, str], ...], dict[float, CellComparison]] = {}
    for cell in comparison.cells:
        of_arm = by_arm.setdefault(_arm(cell), {})
        of_arm |= {float(level): cell for path, level in cell.levels.items() if _is_rate(path)}
    return by_arm
