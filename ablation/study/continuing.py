"""Finished runs that longer ones go on from: a grid whose ``training.max_steps`` was raised."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from ..store.results import read_record
from ..store.runs import Store
from .manifest import run_ids

if TYPE_CHECKING:
    from ..grid.plan import Run


def shorter_runs(
    missing: "Sequence[Run]", earlier: Mapping[str, Any] | None, store: Store
) -> tuple[dict[str, Path], list[str]]:
    """For each run the directory of a finished one of the earlier manifest that it goes on from, if there is one.

    With it, lines for the user: how many there are, and why others that were only made longer begin anew.
    """
    from pydantic import ValidationError

    from ..config.layered import load_recorded
    from ..training.further import CONTINUE, continuation

    if earlier is None or not missing:
        return {}, []
    candidates: dict[str, list[dict[str, Any]]] = {}
    of_interrupted = dict.fromkeys(earlier.get("shorter_runs", {}).values())  # a command that had made runs longer
    for run_id in {**dict.fromkeys(run_ids(earlier)), **of_interrupted}:
        record = _completed(store, run_id)
        if record is not None:
            candidates.setdefault(_but_for_steps(record["identity"]), []).append(record)
    found: dict[str, Path] = {}
    reasons: Counter[str] = Counter()
    for run in missing:
        n_steps, why = run.config.training.max_steps, ""
        same = candidates.get(_but_for_steps(run.identity), ())
        for record in sorted((each for each in same if _steps(each) < n_steps), key=_steps, reverse=True):
            try:
                step = continuation(run.config, load_recorded(record["config"]))
            except ValidationError:
                continue
            if isinstance(step, str):
                why = why or step
            elif not (store.directory(record["id"]) / CONTINUE).exists():
                why = why or _why_no_state(store.directory(record["id"]), record["id"])
            else:
                found[run.id] = store.directory(record["id"])
                break
        if why and run.id not in found:
            reasons[why] += 1
    lines = [f"longer runs that begin at their first step: {n}, since {why}" for why, n in reasons.items()]
    return found, [*lines, *([f"longer runs that go on from shorter ones: {len(found)}"] if found else [])]


def _why_no_state(directory: Path, run_id: str) -> str:
    result = read_record(directory / "result.json", run_id) or {}
    if (result.get("record") or {}).get("stopped_early"):
        return "the earlier run was stopped early"
    return "the earlier run has kept no state (training.keep_state, training.save_weights)"


def _steps(record: Mapping[str, Any]) -> int:
    return int(record["config"]["training"]["max_steps"])


def _completed(store: Store, run_id: str) -> dict[str, Any] | None:
    """The run.json of a completed run."""
    try:
        completed = store.status(run_id) == "completed"
        return read_record(store.directory(run_id) / "run.json", run_id) if completed else None
    except StorageError:
        return None


def _but_for_steps(identity: Mapping[str, Any]) -> str:
    """The same for runs that differ in their number of steps alone."""
    return json.dumps({**identity, "training": {**identity["training"], "max_steps": None}}, sort_keys=True)
