"""One attempt at a run: how it ends, and what is done before its end is written."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_grids import plan_of, write_grid

from ablation.grid.plan import Plan
from ablation.store.attempts import begin
from ablation.store.runs import Store
from ablation.training.attempt import train_attempt, train_order


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(write_grid(tmp_path))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError("no more"), "oom"),
        (torch.OutOfMemoryError("no more"), "oom"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you"), "oom"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (RuntimeError("shapes do not fit"), "failed"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_lack_of_memory_is_known_by_what_torch_and_the_system_say(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("ablation.training.attempt.train", fail)
    store = Store(tmp_path / "runs")
    assert train_order(store.order(plan.runs[0])).status == store.status(plan.runs[0].id) == status


def test_log_is_closed_before_the_end_is_written(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, closed = Store(tmp_path / "runs"), list[str]()
    for run, fails in zip(plan.runs, (False, True), strict=False):
        if fails:
            monkeypatch.setattr("ablation.training.attempt.train", None)
        train_attempt(begin(store.order(run)), close=lambda run=run: closed.append(store.status(run.id)))
        assert store.status(run.id) == ("failed" if fails else "completed")
    assert closed == ["running", "running"] or closed == ["stopped", "stopped"], "not ended yet"
