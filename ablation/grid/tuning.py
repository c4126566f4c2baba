"""Tuning: the grid whose runs decide on settings that are tuned, with the same budget for every cell.

Tuning one arm alone, or reporting on the seeds that chose, finds differences that are none (Melis et al. 2018,
arXiv:1707.05589; Sivaprasad et al. 2020, arXiv:1910.11758).
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice

from ..registry import Config
from ..rng import derive
from ..yaml import KeyPath
from .cells import CellConfigs
from .design import Combination
from .factors import Factor, Level, Setting, describe, short_names
from .file import Grid
from .matching import STEPS, value_at
from .search import Trial, TriedInCells
from .tried import TimesConfig, Tried, rounded, values_tried

FIRST_SEED = 2**30
"""Tuning seeds are not below it, where a number of reporting seeds counts from."""
TRIAL = "trial"
"""The path and name of the factor whose levels are the trials of a search."""


def refuse_tuned_components(configs: CellConfigs) -> None:
    """Errors: InputError where what is tuned is a component or a section, and not a setting of one."""
    tune = configs.grid.config.tune
    for path in () if tune is None else tune.settings:
        value = None
        with suppress(ValueError):  # of a setting that only some levels have
            value = value_at(configs.config, path)
        if isinstance(value, Config):
            what = f"{path} is no single setting; tune those of it, or make it a factor"
            raise configs.grid.document.error(("tune", "settings", path), what)


def choose_tried(configs: CellConfigs, indices: Combination) -> bool:
    """Set in a cell of a tuning study what it tries; False where it has no such trial, or tried the same before."""
    grid, tried_in_cells = configs.grid, configs.grid.tried
    if tried_in_cells is None:
        return True
    for index, path in tried_in_cells.multiples.items():
        level = grid.factors[index].levels[indices[index]]
        configs.choose(indices, {path: _multiple(configs, indices, path, level.value, level.path)}, "tune")
    if tried_in_cells.trials is None:
        return True
    trials, number = tried_in_cells.trials[indices[:-1]], indices[-1]
    if number >= len(trials) or trials[number] in trials[:number]:
        return False
    assert grid.config.tune is not None
    values = dict(trials[number].values)
    for path, tried in grid.config.tune.settings.items():
        if isinstance(tried, TimesConfig):
            values[path] = _multiple(configs, indices, path, values[path], ("tune", "settings", path))
    if (share := trials[number].share) < 1:
        values[STEPS] = max(1, round(share * configs.resolve(indices).training.max_steps))
    configs.choose(indices, values, "tune")
    return True


def grid_of_combinations(grid: Grid, extensions: Mapping[str, tuple[int, int]]) -> Grid:
    """The grid in which every cell is run with all combinations of the values that are tried, on tuning seeds.

    ``extensions`` says, by path, how many values are added below the first and above the last.
    """
    tune = grid.config.tune
    assert tune is not None
    names = short_names([*tune.settings, *(factor.path for factor in grid.factors)])
    factors, multiples = list[Factor](), dict[int, str]()
    for path, tried in tune.settings.items():
        if isinstance(tried, TimesConfig):
            multiples[len(grid.factors) + len(factors)] = path
        factors.append(_factor(path, names[path], tried, extensions.get(path, (0, 0))))
    return _tuning_grid(grid, factors, TriedInCells(multiples))


def grid_of_trials(grid: Grid, trials: Mapping[Combination, Sequence[Trial]]) -> Grid:
    """The grid in which every cell is run with the trials that a search made for it, on tuning seeds."""
    place = ("tune", "search")
    levels = tuple(Level(number + 1, str(number + 1), place, ()) for number in range(max(map(len, trials.values()))))
    return _tuning_grid(grid, [Factor(TRIAL, TRIAL, levels, {TRIAL: levels})], TriedInCells(trials=trials))


def _tuning_grid(grid: Grid, factors: Sequence[Factor], tried: TriedInCells) -> Grid:
    update = {"name": f"{grid.config.name}.tuning", "seeds": tuning_seeds(grid), "interim_looks": None}
    return replace(
        grid,
        config=grid.config.model_copy(update=update),
        factors=(*grid.factors, *factors),
        n_crossed=grid.n_crossed + len(factors),
        tried=tried,
    )


def tuning_seeds(grid: Grid) -> list[int]:
    """Those of a grid are always the same; none of the seeds that its file lists for reporting is among them."""
    tune, reporting = grid.config.tune, grid.config.seeds
    assert tune is not None
    return seeds_apart("tuning seeds", tune.seeds, () if isinstance(reporting, int) else reporting)


def seeds_apart(purpose: str, n: int, used: Collection[int]) -> list[int]:
    """``n`` seeds that no number of reporting seeds reaches, none of them ``used``; for a purpose always the same."""
    candidates = (FIRST_SEED + derive(0, purpose, number) % FIRST_SEED for number in count())
    return list(islice((seed for seed in candidates if seed not in used), n))


def _multiple(configs: CellConfigs, indices: Combination, path: str, times: float, place: KeyPath) -> int | float:
    """So many times the value that a cell has. Errors: InputError where that is no number."""
    try:
        value = value_at(configs.resolve(indices), path)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"is {value!r} here, which has no multiples")
    except ValueError as error:
        raise configs.grid.document.error(place, f"{path} {error} (cell {configs.label(indices)})") from None
    product = rounded(times * value)
    return round(product) if isinstance(value, int) else product


def _factor(path: str, name: str, tried: Tried, extension: tuple[int, int]) -> Factor:
    place = ("tune", "settings", path)
    values = values_tried(tried)  # those that were added come last, so that the baseline remains the first one
    values += [value for value in values_tried(tried, extension) if value not in values]
    if isinstance(tried, TimesConfig):  # a path of its own, since its levels are no values of that path
        path, name = f"{path}_times", f"{name}_times"
        levels = tuple(Level(value, describe(value), place, ()) for value in values)
    else:
        levels = tuple(Level(value, describe(value), place, (Setting(path, value, place),)) for value in values)
    return Factor(path, name, levels, {path: levels})
