"""Check E: the number of further seeds that is named, against the number that is needed."""

from collections.abc import Iterator
from statistics import median

from ..looks import ALPHA
from ..power import more_seeds, seeds_needed, spread
from .check import Check, at_least, slack
from .noise import NORMAL, differences

SEEDS, ARMS = 5, 5


def further_seeds(grids: int, quick: bool) -> Iterator[Check]:
    """From five seeds, the spread pooled over five arms; the truth is a standard deviation of 1."""
    tables = 100 if quick else 1000
    inside, ratios = [], []
    for margin in (1.0,) if quick else (0.75, 1.0, 1.5):
        needed = seeds_needed(margin, ALPHA / ARMS)
        assert needed is not None, "the truth is decidable"
        for table in differences(NORMAL, tables, ARMS, SEEDS, 0.5, "E", str(margin)).tolist():
            pooled = spread(table)
            assert pooled is not None, "five seeds have a spread"
            ratios.append((seeds_needed(margin / pooled[0], ALPHA / ARMS) or 10_000) / needed)
            named, _ = more_seeds(table, SEEDS, margin, ALPHA / ARMS)
            inside.append(named is not None and named[0] <= needed - SEEDS <= named[1])
    middle = median(ratios)
    yield Check("E", "seeds needed by the pooled spread over seeds needed in truth, median", f"{middle:.3f}",
                "0.75 to 1.25", 0.75 <= middle <= 1.25)  # fmt: skip
    share = sum(inside) / len(inside)
    yield at_least("E", "ranges a-b that hold the truth (made for 80 %)", share, 0.75 - slack(len(inside), 0.2))
