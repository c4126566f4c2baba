"""Tuning: the grid whose runs decide on settings that are tuned, with the same budget for every cell.

Tuning one arm alone, or reporting on the seeds that chose, finds differences that are none (Melis et al. 2018,
arXiv:1707.05589; Sivaprasad et al. 2020, arXiv:1910.11758).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import Any

from ..rng import derive
from .cells import CellConfigs
from .design import Combination
from .factors import Factor, Level, Setting, describe, short_names
from .file import Grid
from .matching import value_at
from .schema import TimesConfig
from .tried import rounded, values_tried

FIRST_SEED = 2**30
"""Tuning seeds are not below it, where a number of reporting seeds counts from."""


def tuning_grid(grid: Grid, extensions: Mapping[str, tuple[int, int]]) -> Grid:
    """The grid in which every cell is run with all combinations of the values that are tried, on tuning seeds.

    ``extensions`` says, by path, how many values are added below the first and above the last.
    """
    tune = grid.config.tune
    assert tune is not None
    names = short_names([*tune.settings, *(factor.path for factor in grid.factors)])
    factors, times = list[Factor](), dict[int, str]()
    for path, tried in tune.settings.items():
        if isinstance(tried, TimesConfig):
            times[len(grid.factors) + len(factors)] = path
        factors.append(_factor(path, names[path], tried, extensions.get(path, (0, 0))))
    config = grid.config.model_copy(
        update={
            "name": f"{grid.config.name}.tuning",
            "seeds": tuning_seeds(grid),
            "tune": None,
            "interim_looks": None,
        }
    )
    return replace(
        grid,
        config=config,
        factors=(*grid.factors, *factors),
        n_crossed=grid.n_crossed + len(factors),
        times=times,
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


def choose_multiples(configs: CellConfigs, indices: Combination) -> None:
    """Set, in a cell of the tuning grid, the values that are multiples of its own."""
    for index, path in configs.grid.times.items():
        level = configs.grid.factors[index].levels[indices[index]]
        try:
            value = value_at(configs.resolve(indices), path)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"is {value!r} here, which has no multiples")
        except ValueError as error:
            raise configs.grid.document.error(level.path, f"{path} {error} (cell {configs.label(indices)})") from None
        product = rounded(level.value * value)
        configs.choose(indices, {path: round(product) if isinstance(value, int) else product}, "tune")


def _factor(path: str, name: str, tried: Any, extension: tuple[int, int]) -> Factor:
    place = ("tune", "settings", path)
    values = values_tried(tried)  # those that were added come last, so that the baseline remains the first one
    values += [value for value in values_tried(tried, extension) if value not in values]
    if isinstance(tried, TimesConfig):  # a path of its own, since its levels are no values of that path
        path, name = f"{path}_times", f"{name}_times"
        levels = tuple(Level(value, describe(value), place, ()) for value in values)
    else:
        levels = tuple(Level(value, describe(value), place, (Setting(path, value, place),)) for value in values)
    return Factor(path, name, levels, {path: levels})
