"""How often a run is tried again whose process ended without an end of the run."""

from collections import Counter

from ..store.attempts import Ended, has_come_further
from ..store.runs import Store

TRIES = 3
"""How often a run may be killed, or not even begin, in one command without coming any further."""
CRASHES = 2
"""How often it may end by its own fault, as by a segmentation fault, since memory is not the same each time."""


class Tries:
    """Counts per run. A killed run that has written a later checkpoint than it began with has lost nothing."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.alone: set[str] = set()
        """Runs that are tried again only while no other one runs: they lack memory, or were killed, maybe for that."""

    def again(self, ended: Ended, store: Store) -> bool:
        """Whether to try a run again; counts the attempt."""
        run_id, cause = ended.run_id, ended.cause or ended.how
        if cause == "memory":
            again = run_id not in self.alone
            self.alone.add(run_id)
            if again:
                return True
        if ended.where and has_come_further(store.attempt(ended.where)):
            self.counts = Counter({key: n for key, n in self.counts.items() if key[0] != run_id})
            return True
        self.counts[run_id, cause] += 1
        n = self.counts[run_id, cause]
        if cause in ("memory", "hang", "exit"):
            return False
        if cause == "crash":
            return n < CRASHES
        if n == TRIES - 1 and cause == "killed":
            self.alone.add(run_id)
        return n < TRIES
