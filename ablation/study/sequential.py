"""Seeds added at the planned interim looks, only to the cells that still need them (``ablate run --until-decided``)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..compare.records import Comparison
    from ..grid.file import Grid
    from ..grid.plan import Plan


def planned_looks(grid: "Grid") -> tuple[tuple[int, ...], int]:
    """The interim looks of a grid, or the usual ones, and the seeds of the last one that its list of seeds reaches.

    The later looks stay planned, and so do their fractions of the 5 %: the list may grow. Errors: InputError where it
    does not reach the first.
    """
    from ..stats.sequential import INTERIM_LOOKS, seeds_at

    looks = tuple(grid.config.interim_looks or INTERIM_LOOKS)
    seeds = grid.config.seeds
    most = seeds_at(len(seeds), looks) if isinstance(seeds, list) else looks[-1]
    if not most:
        raise grid.document.error(("seeds",), f"are too few; the first planned look needs {looks[0]}")
    return looks, most


class SequentialPlan:
    """The plans of a grid, look after look.

    The first look is always trained; ``budget`` is how many runs may be trained in all, None: any number.
    """

    def __init__(self, whole: "Plan", budget: int | None):
        self.whole, self.budget = whole, budget
        self.seeds = {cell.label: whole.interim_looks[0] for cell in whole.cells}

    @property
    def plan(self) -> "Plan":
        return self.whole.with_seeds(self.seeds)

    def go_on(self, comparison: "Comparison", n_trained: int, on_message: Callable[[str], None]) -> bool:
        """Whether there is another look to train for; one message says what was decided at this one."""
        from ..stats.contrast import plural
        from ..stats.sequential import next_interim_look

        seeds = max(self.seeds.values())
        verdicts = {
            # What was timed has no seeds, and more of them would not decide it.
            cell.label: [metric.verdict for metric in cell.metrics.values() if metric.verdict and metric.values]
            for cell in comparison.cells[1:]
        }
        reachable = [look for look in comparison.interim_looks if look <= len(self.whole.seeds)]
        look = next_interim_look(verdicts, comparison.baseline.label, seeds, reachable)
        n_open = sum(any(verdict.label == "inconclusive" for verdict in of_cell) for of_cell in verdicts.values())
        decided = f"{plural(seeds, 'seed')}: {len(verdicts) - n_open} of {plural(len(verdicts), 'change')} decided"
        if look is None:
            on_message(f"{decided}; {'no look is left' if n_open else 'done'}.")
            return False
        more = sum(look.seeds - self.seeds[label] for label in look.arms)
        if self.budget is not None and n_trained + more > self.budget:
            rest = f"the next look needs {plural(more, 'run')}, the budget has {self.budget - n_trained}"
            on_message(f"{decided}; {rest}.")
            return False
        on_message(f"{decided}; {plural(more, 'run')} more.")
        self.seeds |= dict.fromkeys(look.arms, look.seeds)
        return True
