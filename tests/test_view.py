"""The live view: what it shows of a grid that is being trained, on a terminal and elsewhere."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_grids import NORMS, plan_of, write_grid

from ablation.cli.view import UNIT, View
from ablation.grid import Plan, Run
from ablation.store.runs import Store
from ablation.store.states import Ending

HOSTILE = "[red]x[/red]"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    levels = {"model.norm": ["layer_norm", {"name": "none", "label": HOSTILE}], **NORMS}
    return plan_of(write_grid(tmp_path_factory.mktemp("grid"), levels))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def view_of(plan: Plan, store: Store, terminal: bool, width: int = 100) -> View:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, height=40, record=True)
    return View(plan, store, len(plan.runs), 2, console)


def printed(view: View) -> str:
    assert isinstance(view.console.file, io.StringIO)
    return view.console.file.getvalue()


def picture(view: View) -> str:
    view.console.print(view.render())
    return view.console.export_text()


def train(store: Store, run: Run, *rows: dict[str, Any], torn: str = "") -> None:
    """Add rows to what a run has measured."""
    file = store.directory(run.id) / "metrics.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows) + torn)


def row(step: int, loss: float | None, speed: float = 1234.5) -> dict[str, Any]:
    return {"step": step, "train/loss": loss, "train/tokens_per_second": speed}


def line_of(text: str, word: str) -> str:
    (line,) = (line for line in text.splitlines() if word in line)
    return line


def test_a_run_in_work_shows_step_loss_and_speed(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    view.started(plan.runs[0])
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-1] == "0/6"
    train(store, plan.runs[0], row(2, 1.23456), {"step": 4, "validation/loss": 9.0}, torn='{"step": 5, "tr')
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-3:] == ["4/6", "1.2346", "1,234"]
    train(store, plan.runs[0], torn='ain/loss": 0.5, "train/tokens_per_second": 9}\n')
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-3:] == ["5/6", "0.5000", "9"]


def test_the_bar_counts_runs_and_parts_of_runs(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    for run in plan.runs[:3]:
        view.started(run)
    train(store, plan.runs[1], row(3, 1.0))
    view.ended(plan.runs[0], Ending("completed"), again=False)
    view.tick()
    task = view.bar.tasks[0]
    assert task.total == 4 * UNIT
    assert task.completed == 1.5 * UNIT
    text = picture(view)
    assert "1/4 runs" in text
    assert "small" in text
    assert "left" in text
    assert "Ctrl-C stops, the same command goes on" in text


def test_endings_are_counted_by_kind(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    assert "none ended yet" in picture(view)
    for run, state in zip(plan.runs, ("completed", "failed", "completed", "diverged"), strict=True):
        view.started(run)
        view.ended(run, Ending(state), again=False)  # type: ignore[arg-type]
    text = picture(view)
    assert "2 completed, 1 diverged, 1 failed" in text
    assert "in work" not in text


def test_a_run_that_is_tried_again_is_not_counted_and_begins_anew(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    run = plan.runs[0]
    view.started(run)
    train(store, run, row(4, 1.0))
    view.tick()
    view.ended(run, Ending("killed", "killed by SIGKILL"), again=True)
    assert "killed by SIGKILL; tried once more" in printed(view)
    assert view.states.total() == 0
    (store.directory(run.id) / "metrics.jsonl").unlink()
    view.started(run)
    view.tick()
    assert "norm=layer_norm block=pre_norm seed=0   0/6" in picture(view)
    assert view.bar.tasks[0].completed == 0


def test_a_loss_that_is_not_finite_shows_nothing(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    view.started(plan.runs[0])
    train(store, plan.runs[0], row(2, None, 7.0))
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-2:] == ["2/6", "7"]


@pytest.mark.parametrize("terminal", [True, False])
def test_labels_and_reasons_are_shown_and_not_obeyed(plan: Plan, store: Store, terminal: bool) -> None:
    view = view_of(plan, store, terminal)
    run = plan.cells[-1].runs[0]
    view.started(run)
    assert HOSTILE in picture(view)
    view.ended(run, Ending("failed", "[bold]why[/bold]\nthen \x1b[2J"), again=False)
    said = printed(view).splitlines()[-1]
    assert HOSTILE in said
    assert "failed in" in said
    assert said.endswith("s: [bold]why[/bold] then")
    assert "\x1b[31m" not in printed(view)
    assert "\x1b[2J" not in printed(view)


def test_without_a_terminal_each_end_is_a_plain_line(plan: Plan, store: Store) -> None:
    with view_of(plan, store, terminal=False, width=20) as view:
        for run, state in zip(plan.runs[:2], ("completed", "oom"), strict=True):
            view.started(run)
            view.tick()
            view.ended(run, Ending(state, None if state == "completed" else "MemoryError"), again=False)  # type: ignore[arg-type]
    first, *ends = printed(view).splitlines()
    assert first == "4 runs to train, 2 at a time"
    assert len(ends) == 2, "no line is folded, whatever the width"
    assert ends[0].startswith("1/4 norm=layer_norm block=pre_norm seed=0: completed in ")
    assert ends[1].endswith(" s: MemoryError")
    assert "\x1b" not in printed(view)


def test_on_a_terminal_a_completed_run_is_no_line_and_the_picture_is_taken_away(plan: Plan, store: Store) -> None:
    with view_of(plan, store, terminal=True) as view:
        view.started(plan.runs[0])
        view.live.refresh()
        before = printed(view)
        view.ended(plan.runs[0], Ending("completed"), again=False)
        assert "completed in" not in printed(view)
    assert "in work" in before
    assert "\x1b[?25l" in before, "the cursor is hidden"
    after = printed(view)[len(before) :]
    assert "\x1b[?25h" in after, "and shown again"
    assert "\x1b[2K" in after


def test_more_runs_than_lines_keep_the_bar(plan: Plan, store: Store) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=4)
    with View(plan, store, 4, 4, console) as view:
        for run in plan.runs:
            view.started(run)
        view.live.refresh()
        assert "0/4 runs" in printed(view)
