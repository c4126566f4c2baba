"""A run that is ordered, fails, is ordered again and ends, with kills at any sync and power cuts in between."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from faults.disk import Disk
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.small_grids import plan_of, write_grid

from ablation.store import files
from ablation.store.attempts import Ended, attempts_of, begin, commit, has_end
from ablation.store.checkpoints import CHECKPOINT, checkpoint_step
from ablation.store.results import read_end
from ablation.store.runs import Store

INTERRUPTED = st.one_of(st.none(), st.none(), st.integers(0, 8))
"""The sync at which a process is killed; mostly none."""
FAILURE = {"kind": "exception", "reason": "no luck", "at": None, "fingerprint": "no luck"}
QUALITY = {"primary": "loss", "better": "lower", "final": {"loss": 1.0}}
EFFICIENCY = {"parameters": 10, "tokens_per_second": 5.0, "training_seconds": 1.0}
RESULT = {"status": "completed", "reason": None, "quality": QUALITY, "efficiency": EFFICIENCY}
NEVER = -1


@cache
def a_run() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return plan_of(write_grid(Path(folder), {"optimizer.lr": [0.001]})).runs[0]


class Retries(RuleBasedStateMachine):
    """What is known for certain, as nothing was interrupted since, is compared with what is on the disk."""

    @initialize()
    def empty(self) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        root = Path(self.temporary.name) / "runs"
        root.mkdir()
        self.disk, self.store, self.run = Disk(root), Store(root), a_run()
        self.disk.remember(root)
        self.attempt: Path | None = None
        self.reported: str | None = None
        """The status that a command has seen."""
        self.goes_on_at: int | None = None
        """The step that the next attempt begins at, where that is certain; 0: the first one."""
        self.failed_at: int | None = NEVER
        """The checkpoint that is kept and after which the run has failed, where that is certain."""
        with self.disk.watched():
            self.store.probe()

    @property
    def directory(self) -> Path:
        return self.store.directory(self.run.id)

    def interrupted(self, at: int | None, work: Any, power: bool) -> bool:
        """Whether the work was ended at a sync, with the power or without."""
        left = iter(range(1000))

        def before_sync() -> None:
            if next(left) == at:
                raise KeyboardInterrupt

        self.disk.before_sync = before_sync
        try:
            with self.disk.watched():
                work()
        except KeyboardInterrupt:
            self.attempt = self.goes_on_at = self.failed_at = None
            if power:
                self.disk.cut()
            return True
        finally:
            self.disk.before_sync = lambda: None
        return False

    @rule(retry=st.booleans(), at=INTERRUPTED, power=st.booleans())
    def order(self, retry: bool, at: int | None, power: bool) -> None:
        """A command trains what is missing, and with ``retry`` what has failed."""

        def work() -> None:
            self.store.finish_attempts()
            status = self.store.end(self.run.id).status
            again = retry and status == "failed"
            order = self.store.order(self.run, keep_end=not again)
            if isinstance(order, Ended):
                assert order.status == status
                assert status in ("failed", "completed")
                self.attempt = None
                return
            assert status != "completed"
            self.reported = None
            self.attempt = begin(order)
            if self.goes_on_at is not None:
                assert (checkpoint_step(self.attempt) or 0) == self.goes_on_at

        if self.attempt is None:
            self.interrupted(at, work, power)

    @precondition(lambda self: self.attempt is not None)
    @rule(at=INTERRUPTED, power=st.booleans())
    def checkpoint(self, at: int | None, power: bool) -> None:
        """Training comes to the next checkpoint, which takes the place of the one before."""
        attempt = self.attempt
        assert attempt is not None
        step, folder = (checkpoint_step(attempt) or 0) + 4, attempt / CHECKPOINT

        def work() -> None:
            folder.mkdir(exist_ok=True)
            with files.replacing(folder / f"step-{step:09}.pt") as staged:
                staged.write_bytes(bytes(100))
            files.write_json(folder / f"step-{step:09}.json", {"step": step})
            for file in folder.glob("step-*"):
                if file.stem != f"step-{step:09}":
                    file.unlink()

        if not self.interrupted(at, work, power):
            self.goes_on_at = step

    @precondition(lambda self: self.attempt is not None)
    @rule(fails=st.booleans(), at=INTERRUPTED, power=st.booleans())
    def end(self, fails: bool, at: int | None, power: bool) -> None:
        """The run comes to an end, and the command tidies up after it."""
        attempt = self.attempt
        assert attempt is not None
        step, before = checkpoint_step(attempt) or 0, self.failed_at

        def work() -> None:
            (attempt / "metrics.jsonl").write_text(json.dumps({"loss": 1.0}) + "\n")
            assert commit(attempt, "failure.json" if fails else "result.json", FAILURE if fails else RESULT) in (
                "committed",
                "conflict",
            )
            self.store.conclude(self.run.id)

        if self.interrupted(at, work, power):
            return
        self.attempt, self.reported = None, self.store.end(self.run.id).status
        assert self.reported == ("failed" if fails else "completed")
        if fails:
            kept = checkpoint_step(self.directory) or 0
            if before is not None:
                assert kept == (0 if before == step else step)
            self.goes_on_at, self.failed_at = kept, kept or NEVER
        assert list((self.disk.root / "store" / "replaced").glob("*/checkpoint")) == []
        assert attempts_of(self.disk.root / "store", self.run.id) == []
        assert fails or not (self.directory / CHECKPOINT).exists()

    @rule()
    def cut(self) -> None:
        self.attempt = self.goes_on_at = self.failed_at = None
        self.disk.cut()

    @rule()
    def kill(self) -> None:
        """The process is killed between two syncs; what it has written is on the disk, if not for certain."""
        self.attempt = None

    @invariant()
    def what_was_reported_is_there(self) -> None:
        if getattr(self, "reported", None) is not None:
            assert read_end(self.directory, self.run.id).status == self.reported

    @invariant()
    def no_run_is_half(self) -> None:
        if hasattr(self, "store") and self.directory.exists():
            assert has_end(self.directory)
            assert read_end(self.directory, self.run.id).status in ("failed", "completed")

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.temporary.cleanup()


TestRetries = Retries.TestCase
TestRetries.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_each_step_of_a_retry_as_a_model_has_it() -> None:
    """The case that the state machine is for, without chance: two failures after one checkpoint, then the end."""
    machine = Retries()
    machine.empty()
    try:
        for kept in (4, 0):
            machine.order(retry=True, at=None, power=False)
            if kept:
                machine.checkpoint(at=None, power=False)
            machine.end(fails=True, at=None, power=False)
            assert machine.goes_on_at == kept
        machine.order(retry=True, at=None, power=False)
        machine.end(fails=False, at=None, power=False)
        machine.what_was_reported_is_there()
    finally:
        machine.teardown()


@pytest.mark.parametrize("retry", [False, True])
def test_only_a_retry_orders_a_failed_run(retry: bool) -> None:
    machine = Retries()
    machine.empty()
    try:
        machine.order(retry=False, at=None, power=False)
        machine.end(fails=True, at=None, power=False)
        machine.order(retry=retry, at=None, power=False)
        assert (machine.attempt is not None) == retry
    finally:
        machine.teardown()
