"""``ablate check``: does everything in ``runs/`` hold what was written there?"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import DONE, SOME_FAILED, AsJson, Runs, existing_store
from .streams import say

if TYPE_CHECKING:
    from ..store.check import Counts

Repair = Annotated[bool, typer.Option("--repair", help="Repair what can be repaired, and say what was done.")]
Quick = Annotated[bool, typer.Option("--quick", help="Leave weights unread; reading them takes longest.")]


def check(runs: Runs = Path("runs"), repair: Repair = False, quick: Quick = False, as_json: AsJson = False) -> int:
    """Check all runs: sha256, schemas, leftovers. Without --repair it changes nothing; exit code 1: problems."""
    from ..store.check import Check, as_dict, mend

    store = existing_store(runs)
    problems = []
    with store.lock() if repair else contextlib.nullcontext():
        walk = Check(store, large=not quick, alone=repair)
        for problem in walk.problems():
            problems.append(as_dict(problem, store.root, mend(problem) if repair else None))
            if not as_json:
                say(_line(problems[-1]))
    left = [problem for problem in problems if problem["done"] is None]
    if as_json:
        say(json.dumps({"problems": problems, "left": len(left), "seen": asdict(walk.counts)}))
    else:
        for line in [*_seen(walk.counts), _summary(problems, left, quick)]:
            say(line)
    return SOME_FAILED if left else DONE


def _line(problem: Mapping[str, Any]) -> str:
    from ..report.labels import plain

    return plain(f"{problem['path']}: {problem['what']}; {problem['done'] or problem['advice']}")


def _seen(counts: "Counts") -> Iterator[str]:
    """What is no problem, and may be worth knowing."""
    from ..report.numbers import short
    from ..stats.contrast import plural

    if counts.being_trained:
        yield "Another command is training here: attempts and files that it is writing were not checked."
    if counts.stopped:
        yield f"{plural(counts.stopped, 'stopped attempt')}: `ablate run` goes on from there."
    if counts.without_digests:
        yield f"{plural(counts.without_digests, 'run')} of an earlier version: no sha256 was recorded."
    if counts.without_weights:
        yield f"{plural(counts.without_weights, 'run')} without weights."
    if counts.not_trained:
        yield f"{plural(counts.not_trained, 'run')} of grids not trained yet."
    if counts.in_no_grid:
        yield f"{plural(counts.in_no_grid, 'run')} in no grid: `ablate gc` deletes what nothing needs."
    for folder, (count, n_bytes) in counts.aside.items():
        yield f"store/{folder}: {plural(count, 'run')}, {short(n_bytes)}B."


def _summary(problems: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]], quick: bool) -> str:
    from ..stats.contrast import plural

    if not problems:
        return "No problems; weights were not read." if quick else "No problems."
    repaired = f"{len(problems) - len(left)} repaired" if len(left) < len(problems) else "none repaired"
    repairable = sum(problem["repairable"] for problem in left)
    more = f"; --repair can repair {repairable}." if repairable else "."
    return f"{plural(len(problems), 'problem')}, {repaired}{more}"
