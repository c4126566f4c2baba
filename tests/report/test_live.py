"""The live view of a grid that is being trained, on a terminal and elsewhere."""

import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.runs import RESULT
from support.small_grids import NORMS, plan_of, write_grid

from ablation.cli.status import render
from ablation.grid.plan import Plan, Run
from ablation.report.live import UNIT, View
from ablation.store.attempts import commit, rename
from ablation.store.results import RunEnd
from ablation.store.rows import RowReader
from ablation.store.runs import Store
from ablation.study.status import take_snapshot

HOSTILE = "[red]x[/red]"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    levels = {"model.norm": ["layer_norm", {"name": "none", "label": HOSTILE}], **NORMS}
    return plan_of(write_grid(tmp_path_factory.mktemp("grid"), levels))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def view_of(plan: Plan, store: Store, terminal: bool, width: int = 100, height: int = 40) -> View:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height, record=True)
    return View(plan, store, len(plan.runs), 2, console)


def printed(view: View) -> str:
    assert isinstance(view.console.file, io.StringIO)
    return view.console.file.getvalue()


def picture(view: View) -> str:
    view.console.print(view.render())
    return view.console.export_text()


def rows_of(store: Store, run: Run) -> Path:
    """The metrics of the one attempt at a run."""
    return store.attempt(f"{run.id}.1") / "metrics.jsonl"


def train(store: Store, run: Run, *rows: dict[str, Any], torn: str = "") -> None:
    """Add rows to what a run has measured."""
    file = rows_of(store, run)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows) + torn)


def row(step: int, loss: float | None, speed: float = 1234.5) -> dict[str, Any]:
    return {"step": step, "train/loss": loss, "train/tokens_per_second": speed}


def evaluation(tokens: int, loss: float | None) -> dict[str, Any]:
    return {"step": 2, "tokens": tokens, "validation/loss": loss}


def line_of(text: str, word: str) -> str:
    (line,) = (line for line in text.splitlines() if word in line)
    return line


def test_running_run_shows_step_loss_and_speed(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    view.started(plan.runs[0])
    view.tick()
    assert "none ended yet, 1 queued; " in picture(view)
    train(store, plan.runs[0])
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-1] == "0/6"
    assert "queued" not in picture(view)
    train(store, plan.runs[0], row(2, 1.23456), {"step": 4, "validation/loss": 9.0}, torn='{"step": 5, "tr')
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-3:] == ["4/6", "1.2346", "1,234"]
    train(store, plan.runs[0], torn='ain/loss": 0.5, "train/tokens_per_second": 9}\n')
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-3:] == ["5/6", "0.5000", "9"]


def test_bar_counts_runs_and_fractions_of_runs(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    for run in plan.runs[:3]:
        view.started(run)
    train(store, plan.runs[1], row(3, 1.0))
    view.ended(plan.runs[0], RunEnd("completed"), again=False)
    view.tick()
    task = view.bar.tasks[0]
    assert task.total == 4 * UNIT
    assert task.completed == 1.5 * UNIT
    text = picture(view)
    assert "1/4 runs" in text
    assert "small" in text
    assert "left" in text
    assert "Ctrl-C stops, the same command goes on" in text


def test_ended_runs_are_counted_by_status(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    assert "none ended yet" in picture(view)
    for run, state in zip(plan.runs, ("completed", "failed", "completed", "diverged"), strict=True):
        view.started(run)
        view.ended(run, RunEnd(state), again=False)  # type: ignore[arg-type]
    text = picture(view)
    assert "2 completed, 1 diverged, 1 failed" in text
    assert "running" not in text


def test_retried_run_is_not_counted_and_starts_again(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    run = plan.runs[0]
    view.started(run)
    train(store, run, row(4, 1.0))
    view.tick()
    view.ended(run, RunEnd("killed", "killed by SIGKILL"), again=True)
    assert "killed by SIGKILL; tried once more" in printed(view)
    assert view.statuses.total() == 0
    store.attempt(f"{run.id}.2").mkdir()
    view.started(run)
    view.tick()
    assert "norm=layer_norm block=pre_norm seed=0   0/6" in picture(view)
    assert view.bar.tasks[0].completed == 0


def test_loss_that_is_not_finite_is_empty(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    view.started(plan.runs[0])
    train(store, plan.runs[0], row(2, None, 7.0))
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-2:] == ["2/6", "7"]


@pytest.mark.parametrize("terminal", [True, False])
def test_markup_in_labels_and_reasons_does_nothing(plan: Plan, store: Store, terminal: bool) -> None:
    view = view_of(plan, store, terminal)
    run = plan.cells[-1].runs[0]
    train(store, run)
    view.started(run)
    view.tick()
    assert HOSTILE in picture(view)
    view.ended(run, RunEnd("failed", "[bold]why[/bold]\nthen \x1b[2J"), again=False)
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
            view.ended(run, RunEnd(state, None if state == "completed" else "MemoryError"), again=False)  # type: ignore[arg-type]
    first, *ends = printed(view).splitlines()
    assert first == "4 runs to train, at most 2 at a time"
    assert len(ends) == 2, "no line is folded, whatever the width"
    assert ends[0].startswith("1/4 norm=layer_norm block=pre_norm seed=0: completed in ")
    assert ends[1].endswith(" s: MemoryError")
    assert "\x1b" not in printed(view)


def test_terminal_is_wiped_and_completed_runs_print_nothing(plan: Plan, store: Store) -> None:
    with view_of(plan, store, terminal=True) as view:
        train(store, plan.runs[0])
        view.started(plan.runs[0])
        view.tick()
        view.live.refresh()
        before = printed(view)
        view.ended(plan.runs[0], RunEnd("completed"), again=False)
        assert "completed in" not in printed(view)
    assert "running" in before
    assert "\x1b[?25l" in before, "the cursor is hidden"
    after = printed(view)[len(before) :]
    assert "\x1b[?25h" in after, "and shown again"
    assert "Ctrl-C stops" not in after.rpartition("\x1b[2K")[2], "the lines of the picture are wiped"


@pytest.mark.parametrize(("height", "shown"), [(4, 0), (6, 1), (7, 2), (8, 4)])
def test_bar_stays_with_more_runs_than_lines(plan: Plan, store: Store, height: int, shown: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=height)
    with View(plan, store, 4, 4, console) as view:
        for run in plan.runs:
            train(store, run)
            view.started(run)
        view.tick()
        view.live.refresh()
        assert "0/4 runs" in printed(view)
        assert printed(view).count("0/6") == shown
        assert ("more" in printed(view)) == (shown < 4)


def test_a_run_on_another_machine_has_its_name_and_one_that_is_begun_again_is_said(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    for run in plan.runs[:2]:
        train(store, run, row(2, 1.0))
        view.started(run)
    (rows_of(store, plan.runs[0]).parent / "attempt.json").write_text(json.dumps({"host": "node017"}))
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-4:] == ["node017", "2/6", "1.0000", "1,234"]
    assert line_of(picture(view), "block=post_norm seed=0").split()[-4:] == ["here", "2/6", "1.0000", "1,234"]
    assert "begun again" not in printed(view)
    rows_of(store, plan.runs[0]).parent.rename(store.attempt(f"{plan.runs[0].id}.2"))
    view.tick()
    assert f"{plan.cells[0].label} seed=0: interrupted, and begun again" in printed(view)
    commit(store.attempt(f"{plan.runs[0].id}.2"), "result.json", RESULT)
    view.tick()
    assert printed(view).count("begun again") == 1, "its end is no new beginning"


def cell_in(view: View, label: str) -> list[str]:
    """The further columns of a cell: runs that are over, loss and difference."""
    view.compare()
    below = picture(view).partition("difference")[2].splitlines()
    (line,) = (line for line in below if line.startswith(f"{label}  "))
    return line.removeprefix(label).split()


@pytest.mark.parametrize("width", [80, 160])
def test_cells_are_compared_at_equal_tokens_as_partial(plan: Plan, store: Store, width: int) -> None:
    view = view_of(plan, store, terminal=True, width=width)
    first, second = plan.cells[0].runs[0], plan.cells[1].runs[0]
    for run in (first, second):
        view.started(run)
    train(store, first, row(1, 5.0), evaluation(100, 2.0), evaluation(200, 1.0))
    train(store, second, evaluation(100, 3.0))
    view.tick()
    text = picture(view)
    assert "loss at 100 tokens" in text
    assert line_of(text, "partial: at equal tokens").strip().endswith("no verdict follows from it")
    assert text.index("running") < text.index("loss at") < text.index("partial:") < text.index("Ctrl-C stops")
    assert max(map(len, text.splitlines())) <= width
    assert cell_in(view, plan.cells[0].label) == ["0/1", "2.0000"]
    assert cell_in(view, plan.cells[1].label) == ["0/1", "3.0000", "+1.0000"]
    assert cell_in(view, f"norm={HOSTILE}") == ["0/1", "—"]
    train(store, second, evaluation(150, 2.0), torn='{"step": 3, "tokens": 300, "validation/lo')
    view.tick()
    assert cell_in(view, plan.cells[1].label) == ["0/1", "2.0000", "+0.5000"], "the baseline is at 1.5 there"


def test_cells_are_compared_every_two_seconds_on_a_terminal(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, compared = 1000.0, list[float]()
    monkeypatch.setattr("ablation.report.live.time.monotonic", lambda: now)
    monkeypatch.setattr(View, "compare", lambda self: compared.append(now))
    for terminal in (False, True):
        view = view_of(plan, store, terminal)
        for now in (1000.0, 1000.25, 1001.75, 1002.0, 1003.75, 1004.0):  # noqa: B007  the clock reads it
            view.tick()
    assert compared == [1000.0, 1002.0, 1004.0]


def test_rows_are_read_once(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    earlier, run = plan.runs[1], plan.runs[0]
    view.started(run)
    for one in (earlier, run):
        train(store, one, evaluation(100, 2.0))
    view.tick()
    file = rows_of(store, earlier)
    file.write_text(file.read_text().replace("2.0", "7.0"))
    train(store, run, evaluation(200, 1.0))
    view.tick()
    view.compare()
    assert view.losses[run.id] == [(100.0, 2.0), (200.0, 1.0)]
    assert view.losses[earlier.id] == [(100.0, 2.0)]


def test_restarted_run_loses_its_earlier_losses(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    run = plan.runs[0]
    train(store, run, evaluation(100, 2.0))
    assert cell_in(view, plan.cells[0].label)[-1] == "2.0000"
    rows_of(store, run).unlink()
    view.started(run)
    view.compare()
    assert "difference" not in picture(view), "nothing has been evaluated, so nothing is shown"
    train(store, run, evaluation(50, 3.0))
    view.tick()
    assert cell_in(view, plan.cells[0].label)[-1] == "3.0000"


def test_finished_runs_are_counted_before_and_during(plan: Plan, store: Store) -> None:
    view = view_of(plan, store, terminal=True)
    before, now = plan.cells[0].runs[0], plan.cells[1].runs[0]
    train(store, before, evaluation(100, 2.0))
    result = {**RESULT, "id": before.id}
    (rows_of(store, before).parent / "result.json").write_text(json.dumps(result))
    rename(store.attempt(f"{before.id}.1"))
    view.started(now)
    assert cell_in(view, plan.cells[0].label)[0] == "1/1"
    assert cell_in(view, plan.cells[1].label)[0] == "0/1"
    train(store, now, evaluation(100, 1.0))
    view.ended(now, RunEnd("completed"), again=False)
    assert cell_in(view, plan.cells[1].label) == ["1/1", "1.0000", "-1.0000"], "what came last is seen"


@pytest.mark.parametrize(("height", "cells", "more"), [(40, 4, 0), (11, 4, 0), (10, 2, 2), (9, 0, 0), (4, 0, 0)])
@pytest.mark.parametrize("width", [60, 80, 160])
def test_cells_fit_into_the_lines_of_the_terminal(
    plan: Plan, store: Store, width: int, height: int, cells: int, more: int
) -> None:
    view = view_of(plan, store, terminal=True, width=width, height=height)
    view.started(plan.runs[0])
    view.statuses["completed"] = 2
    train(store, plan.runs[0], evaluation(100, 2.0))
    view.tick()
    lines = view.console.render_lines(view.render(), pad=False)
    assert len(lines) <= max(height, 4 + 1 * (width < 80))
    text = picture(view)
    assert sum("0/1 " in line for line in text.splitlines()) == cells
    assert (f"… and {more} more" in text) == (more > 0)
    assert ("partial: at equal tokens" in text) == (cells > 0)
    assert "Ctrl-C stops" in text


@pytest.mark.parametrize("height", [8, 7])
def test_watched_status_fits_into_the_terminal(plan: Plan, store: Store, height: int) -> None:
    train(store, plan.runs[0], evaluation(100, 2.0))
    snapshot = take_snapshot(plan.manifest(), store)
    console = Console(file=io.StringIO(), width=80, height=height)
    lines = console.render_lines(render(snapshot, height), pad=False)
    text = ["".join(segment.text for segment in line).strip() for line in lines]
    assert len(lines) == height
    assert text[0] == "small: 4 runs, 3 missing, 1 stopped"
    assert ("… and 2 more" in text) == (height == 7)
    assert text[-1].startswith("partial: at equal tokens")
    assert len(console.render_lines(render(snapshot))) == 8


def test_what_an_earlier_command_has_left_is_not_taken_for_running(plan: Plan, store: Store) -> None:
    train(store, plan.runs[0], row(2, 1.0))
    view = view_of(plan, store, terminal=True)
    view.started(plan.runs[0])
    view.tick()
    assert "1 queued" in picture(view) and "2/6" not in picture(view)
    rows_of(store, plan.runs[0]).parent.rename(store.attempt(f"{plan.runs[0].id}.2"))
    view.tick()
    assert "2/6" in picture(view) and "begun again" not in printed(view)
    view.ended(plan.runs[0], RunEnd("killed"), again=True)
    view.started(plan.runs[0])
    view.tick()
    assert "1 queued" in picture(view)


def test_folder_that_cannot_be_read_for_a_moment_ends_nothing(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = view_of(plan, store, terminal=True)
    view.started(plan.runs[0])
    train(store, plan.runs[0], row(2, 1.5))
    with monkeypatch.context() as stale:

        def fail(*_: Any) -> None:
            raise OSError(errno.ESTALE, "Stale file handle")

        stale.setattr(RowReader, "read", fail)
        view.tick()
    view.tick()
    assert line_of(picture(view), "block=pre_norm seed=0").split()[-3:-1] == ["2/6", "1.5000"]
