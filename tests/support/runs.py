"""Runs in a store: trained by the local launcher, or only the files that they leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablation.grid.plan import Plan, Run
from ablation.launch.local import LocalLauncher
from ablation.launch.queue import RunSummary, run_queue
from ablation.store.attempts import begin, commit
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study.manifest import save_plan

RESULT: dict[str, Any] = {
    "schema": 1, "status": "completed", "reason": None, "quality": {"final": {"loss": 1.0}}, "efficiency": {},
}  # fmt: skip
FAILURE = {"schema": 1, "kind": "exception", "reason": "x"}


def leave(store: Store, run: Run, result: dict[str, Any] | None = None, failure: dict[str, Any] | None = None) -> None:
    """The files of a run that ended with this result or this failure."""
    for name, content in (("result.json", result), ("failure.json", failure)):
        if content is not None:
            write_json(store.directory(run.id) / name, {"id": run.id, **content})


def commit_run(
    store: Store, run: Run, result: dict[str, Any], rows: str = "", plugins: Sequence[Mapping[str, str]] = ()
) -> Path:
    """An attempt at a run that ended with this result, and has become the run; its directory."""
    attempt = begin(store.order(run, plugins))
    (attempt / "metrics.jsonl").write_text(rows)
    assert commit(attempt, "result.json", result) == "committed"
    return store.directory(run.id)


def train(plan: Plan, root: Path, workers: int = 2, **options: Any) -> tuple[RunSummary, Store]:
    """Train a plan, or those of its ``runs`` that are given, in the store at ``root``."""
    store = Store(root)
    save_plan(plan, store)
    runs, launcher = options.pop("runs", plan.runs), options.pop("launcher", None) or LocalLauncher(workers)
    plugins = store.keep_plugins(plan.plugins, plan.name)
    return run_queue(runs, store, launcher, plugins=plugins, **options), store
