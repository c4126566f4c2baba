"""Run directories as training leaves them, and mirrors over them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablation.store.stored_runs import StoredRuns
from ablation.tracking import offline as wandb_reader
from ablation.tracking.mirror import Mirror
from ablation.tracking.mode import Mode
from ablation.tracking.session import TrackedRun

OFFLINE, ONLINE = Mode("offline"), Mode("online")
RESULT = {
    "schema": 1,
    "status": "completed",
    "reason": None,
    "quality": {"final": {"loss": 2.5, "accuracy": None}, "best": {"loss": 2.25}},
    "stability": {"diverged": False, "diverged_at_step": None, "gradient_norm_median": 0.5},
    "efficiency": {"parameters": 1000, "tokens": 6400, "tokens_per_second": 41000.0},
    "record": {"host": "somewhere"},
}
FAILURE = {"schema": 1, "kind": "oom", "reason": "RuntimeError: out of memory", "attempt": 1}


class Runs:
    """A runs directory, a mirror over it, and what the mirror reported."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reports: list[str] = []
        self.tracked: list[TrackedRun] = []
        self.mirrors: list[Mirror] = []

    def add(self, number: int = 1) -> TrackedRun:
        run_id = f"{number:032x}"
        self.tracked.append(
            TrackedRun(
                id=run_id,
                directory=self.root / "store" / run_id[:2] / run_id,
                name=f"block=post_norm seed={number}",
                group="block=post_norm",
                tags=("norms",),
                config={"model": {"block": "post_norm", "n_heads": 4}, "seed": number},
                factors={"block": "post_norm", "n_heads": 4},
            )
        )
        return self.tracked[-1]

    def mirror(self, mode: Mode, project: str = "ablation") -> Mirror:
        self.mirrors.append(Mirror(self.tracked, StoredRuns(self.root), project, mode, self.reports.append))
        return self.mirrors[-1]

    def replay(self, mode: Mode, project: str = "ablation") -> Mirror:
        replayed = self.mirror(mode, project)
        replayed.start()
        replayed.close()
        return replayed

    def files(self, kind: str = "offline-run") -> list[Path]:
        return sorted((self.root / "wandb").glob(f"{kind}-*/*.wandb"))

    def record(self, kind: str = "offline-run") -> wandb_reader.Record:
        (file,) = self.files(kind)
        return wandb_reader.read(file)


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    train = {"train/loss": 3.75, "train/gradient_norm": 0.5}
    validation = {"validation/loss": 3.5, "validation/accuracy": 0.25}
    return [
        {"step": step, "tokens": 64 * step, "seconds": step / 8} | (train if step % 10 else validation)
        for step in range(start, start + count)
    ]


def append(run: TrackedRun, added: Sequence[dict[str, Any]], tail: str = "") -> None:
    run.directory.mkdir(parents=True, exist_ok=True)
    with (run.directory / "metrics.jsonl").open("a") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in added) + tail)


def conclude(run: TrackedRun, name: str = "result.json", **changes: Any) -> None:
    draft = run.directory / "draft"
    draft.write_text(json.dumps((RESULT if name == "result.json" else FAILURE) | {"id": run.id} | changes))
    draft.replace(run.directory / name)


def logged(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as they were given to W&B, without what it adds; each has its own step."""
    assert [row["_step"] for row in history] == list(range(len(history)))
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in history]


def ledger(run: TrackedRun) -> dict[str, Any]:
    return json.loads((run.directory / "mirror.json").read_text())
