"""The fault plan: `python tests/faults/campaign.py [NAME ...] [--share 1.0] [--write docs/faults.md]`.

Every campaign trains a grid while something goes wrong, gives the same command again, and asks one oracle: every result
there once, equal to that of a quiet run to the bit, nothing left over, no lie in the table.
"""

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.damage import DECK, STATES, damaged_checkpoints, damaged_files
from faults.failures import FAILING, failing_runs
from faults.kills import (
    concurrent_commands,
    driver_kills,
    group_kills,
    preemption,
    worker_kills,
)
from faults.operations import MOST, commit_path
from faults.stage import Findings, Stage
from faults.stopped import stopped_workers
from faults.stops import early_interrupts, interrupts
from faults.storage import clock_jumps, disk_full, failing_operations, temporary_folder

Campaign = Callable[[Stage, random.Random, int], tuple[int, Findings]]


@dataclass(frozen=True)
class Entry:
    """A campaign, how many faults the whole of it has, and the grid that it needs."""

    run: Campaign
    faults: int
    grid: dict[str, Any] = field(default_factory=dict)
    quick: int = 1
    """How many faults the part has that every test run includes, on a small grid; 0: it has none, where the
    campaign is long and others or other tests have its faults too.
    """
    small: dict[str, Any] = field(default_factory=dict)
    """What is different in that grid, besides what is smaller in ``SMALL``."""

    @property
    def what(self) -> str:
        return " ".join((self.run.__doc__ or "").split())


SMALL = {"cells": 2, "seeds": 2, "steps": 12, "workers": 4}
LONGER = {"steps": 30}
"""In a small grid, of runs that last until something has happened to them."""
EVERY_4 = {"training.checkpoint_seconds": None, "training.checkpoint_steps": 4}
BY_STEPS = {**EVERY_4, "schedule": "constant"}
"""The same operations in every run, however busy the machine is."""
CAMPAIGNS = {
    "worker kills": Entry(worker_kills, 200, {"cells": 20, "seeds": 5, "steps": 40, "workers": 8}, 4, LONGER),
    "driver kills": Entry(driver_kills, 50, {"cells": 20, "seeds": 10, "steps": 60, "workers": 6}, 1, LONGER),
    "group kills": Entry(group_kills, 20, {"cells": 10, "seeds": 6, "steps": 60, "workers": 6}, quick=0),
    "stopped runs": Entry(stopped_workers, 20, {"cells": 8, "seeds": 5, "steps": 60, "workers": 6}, 2, LONGER),
    "failing runs": Entry(failing_runs, 60, {**FAILING, "seeds": 4, "workers": 6}, 1, {"seeds": 1}),
    "every operation": Entry(
        commit_path, MOST, {"cells": 2, "seeds": 4, "steps": 8, "workers": 4, "settings": BY_STEPS}, quick=4
    ),
    "concurrent commands": Entry(
        concurrent_commands, 20, {"cells": 4, "seeds": 3, "steps": 200, "workers": 4}, 3, {"steps": 100}
    ),
    "preemption": Entry(preemption, 100, {"cells": 8, "seeds": 5, "steps": 40, "workers": 6}, 6, LONGER),
    "interrupts": Entry(interrupts, 10, {"cells": 10, "seeds": 6, "steps": 60, "workers": 6}, 4, LONGER),
    "early interrupts": Entry(early_interrupts, 40, {"cells": 10, "seeds": 6, "steps": 60, "workers": 6}, quick=0),
    "disk full": Entry(disk_full, 10, {"cells": 6, "seeds": 4, "steps": 24}),
    "failing operations": Entry(failing_operations, 20, SMALL, quick=2),
    "temporary folder": Entry(temporary_folder, 2, SMALL, quick=0),
    "clock jumps": Entry(clock_jumps, 1, SMALL),
    "damaged files": Entry(
        damaged_files, len(DECK), {**SMALL, "seeds": 4, "settings": BY_STEPS, "plugin": None}, quick=2
    ),
    "damaged checkpoints": Entry(
        damaged_checkpoints,
        len(STATES),
        {"cells": 2, "seeds": 4, "steps": 40, "workers": 8, "settings": EVERY_4},
        quick=0,
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2, help="campaigns")
    parser.add_argument("--write", type=Path, help="the page for the table, in which those not named keep their rows")
    options = parser.parse_args()
    names = options.names or list(CAMPAIGNS)
    rows = {} if options.write is None or not options.names else read_rows(options.write)
    clean = True
    with ProcessPoolExecutor(options.at_once) as pool:
        for row, fine in pool.map(partial(conduct, share=options.share, seed=options.seed), names):
            rows[row[0]] = row
            clean &= fine
            if options.write:
                options.write.write_text(page([rows[name] for name in CAMPAIGNS if name in rows], options.seed))
    return 0 if clean else 1


def conduct(name: str, share: float, seed: int) -> tuple[list[str], bool]:
    """One campaign, in a folder of its own; a row of the table, and whether the oracle found nothing."""
    entry = CAMPAIGNS[name]
    count = max(1, round(entry.faults * share))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        stage = Stage(Path(folder), **entry.grid)
        try:
            done, found = entry.run(stage, random.Random(f"{seed} {name}"), count)
        except Exception as error:
            traceback.print_exc()
            done, found = 0, Findings(lies=[f"{type(error).__name__}: {error}"])
    seconds = time.monotonic() - started
    row = [name, str(done), str(stage.n_runs), str(found.lost), str(found.twice), str(found.different)]
    row += [str(len(found.leftovers)), str(len(found.lies)), f"{seconds:.0f} s"]
    print(" | ".join(row), flush=True)
    for problem in [*found.leftovers, *found.lies]:
        print(f"    {problem}", flush=True)
    return row, found.clean


HEADING = ("campaign", "faults", "runs", "lost", "twice", "different", "left over", "lies", "time")


def read_rows(file: Path) -> dict[str, list[str]]:
    """The rows that a page has, by campaign."""
    lines = file.read_text().splitlines() if file.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: [name, *numbers] for name, *numbers in cells if name in CAMPAIGNS}


def page(rows: list[list[str]], seed: int) -> str:
    lines = [
        "# Faults: what was broken on purpose, and what it cost",
        "",
        f"Written by `python tests/faults/campaign.py --write docs/faults.md --seed {seed}`. In every campaign a",
        "grid is trained while something goes wrong, the same command is given again, and one oracle looks at the",
        "runs: how many are lost, were finished twice, or differ in a bit from those of a quiet command; what is left",
        "over, files and processes; and where a table or `ablate check` says something else than the quiet one.",
        "",
        "| " + " | ".join(HEADING) + " |",
        "|" + " --- |" * len(HEADING),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        *(f"- {name}: {CAMPAIGNS[name].what}" for name, *_ in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
