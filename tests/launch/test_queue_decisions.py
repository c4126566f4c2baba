"""What the queue does with each way in which an attempt can end: a launcher that says so, and trains nothing."""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.runs import RESULT, commit_run
from support.small_grids import plan_of, write_grid

from ablation.errors import StorageError
from ablation.grid.plan import Plan, Run
from ablation.launch.base import CANCELED
from ablation.launch.queue import PATIENCE, RunSummary, run_queue
from ablation.store.attempts import LOG, Ended, Order, begin, commit
from ablation.store.results import RunEnd
from ablation.store.runs import Store

KILLED = {"how": "died", "cause": "killed", "reason": "killed by SIGKILL"}
MEMORY = {"how": "died", "cause": "memory", "reason": "killed by the system for lack of memory"}
CRASH = {"how": "died", "cause": "crash", "reason": "segmentation fault (SIGSEGV) in a.py:3", "at": "a.py:3"}
HANG = {"how": "died", "cause": "hang", "reason": "no training step for 0:00:05", "at": "a.py:3"}
EXIT = {"how": "died", "cause": "exit", "reason": "the process ended itself with code 3"}
STOPPED = {"how": "stopped"}
NEVER_BEGAN = {"how": "never_began", "reason": "exit code 1"}
COMPLETED = {"how": "committed", "status": "completed"}


class FakeLauncher:
    """Every attempt ends as ``answers`` says by the number of its run and of the attempt; it takes two at a time."""

    def __init__(self, plan: Plan, answers: Callable[[int, int], Mapping[str, Any]], places: int = 2):
        self.numbers = {run.id: number for number, run in enumerate(plan.runs)}
        self.answers, self.places = answers, places
        self.running: dict[str, Order] = {}
        self.started: list[tuple[int, set[int]]] = []
        """The number of each run that was started, and of those that were at work then."""
        self.stopped: list[float] = []

    @property
    def free(self) -> int:
        return self.places - len(self.running)

    def start(self, order: Order) -> None:
        self.started.append((self.numbers[order.run_id], {self.numbers[other] for other in self.running}))
        self.running[order.run_id] = order

    def wait(self, seconds: float) -> Sequence[Ended]:
        run_id, order = next(iter(self.running.items()))
        number = self.numbers[run_id]
        answer = dict(self.answers(number, sum(other == number for other, _ in self.started)))
        where = ""
        if answer["how"] != "never_began":
            attempt = begin(order)
            (attempt / LOG).write_text("Traceback\n" + f"  of run {number}\n" * 8)
            where = attempt.name
            if step := answer.pop("checkpoint", None):
                (attempt / "checkpoint").mkdir(exist_ok=True)
                (attempt / "checkpoint" / f"step-{step}.json").write_text(f'{{"step": {step}}}')
            if answer.get("status") == "completed":
                commit(attempt, "result.json", RESULT)
            elif answer.get("status") == "oom":
                commit(attempt, "failure.json", {"kind": "oom", "reason": answer["reason"]})
            elif answer.get("status") == "failed":
                about = {"kind": "exception", "reason": answer["reason"], "fingerprint": answer.pop("fingerprint")}
                commit(attempt, "failure.json", about)
        del self.running[run_id]
        return [Ended(run_id, where=where, **answer)]

    def stop(self, patience: float) -> Sequence[Ended]:
        self.stopped.append(patience)
        self.running.clear()
        return []


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(write_grid(tmp_path, seeds=3))


Queued = tuple[RunSummary, Store, FakeLauncher]


@pytest.fixture
def queued(plan: Plan, tmp_path: Path) -> Callable[..., Queued]:
    def run(answers: Callable[[int, int], Mapping[str, Any]], n_runs: int = 6, **options: Any) -> Queued:
        store, launcher = Store(tmp_path / "runs"), FakeLauncher(plan, answers)
        return run_queue(plan.runs[:n_runs], store, launcher, **options), store, launcher

    return run


def first_ends(*ends: Mapping[str, Any]) -> Callable[[int, int], Mapping[str, Any]]:
    """The attempts at the first run end so, one after the other, and all others are completed."""
    return lambda number, attempt: COMPLETED if number or attempt > len(ends) else ends[attempt - 1]


@pytest.mark.parametrize(
    ("ends", "left"),
    [
        ([CRASH], RunEnd("completed")),
        ([CRASH, CRASH], RunEnd("failed", CRASH["reason"])),
        ([HANG], RunEnd("failed", HANG["reason"])),
        ([EXIT], RunEnd("failed", EXIT["reason"])),
        ([KILLED, KILLED], RunEnd("completed")),
        ([KILLED, KILLED, KILLED], RunEnd("killed", KILLED["reason"])),
        ([MEMORY], RunEnd("completed")),
        ([MEMORY, MEMORY], RunEnd("killed", MEMORY["reason"])),
        ([STOPPED, STOPPED], RunEnd("completed")),
        ([STOPPED, STOPPED, STOPPED], RunEnd("stopped")),
        ([NEVER_BEGAN, NEVER_BEGAN], RunEnd("completed")),
        ([NEVER_BEGAN, NEVER_BEGAN, NEVER_BEGAN], RunEnd("missing")),
        ([CRASH, KILLED, KILLED], RunEnd("completed")),
        ([NEVER_BEGAN, NEVER_BEGAN, STOPPED, STOPPED, KILLED, KILLED], RunEnd("completed")),
    ],
)
def test_each_way_to_die_has_its_number_of_tries(
    queued: Any, plan: Plan, ends: list[dict[str, Any]], left: RunEnd
) -> None:
    _, store, launcher = queued(first_ends(*ends), n_runs=2)
    assert store.end(plan.runs[0].id) == left
    assert [number for number, _ in launcher.started].count(0) == len(ends) + (left.status == "completed")
    assert store.status(plan.runs[1].id) == "completed"
    again = store.to_train(plan.runs[:2])
    assert again == ([] if left.status in ("completed", "failed") else [plan.runs[0]])
    assert len(store.attempts().get(plan.runs[0].id, [])) <= 1, "of several the one that it goes on from"


def test_killed_run_that_comes_further_each_time_is_tried_on(queued: Any, plan: Plan) -> None:
    ends = [{**KILLED, "checkpoint": step} for step in (2, 4, 6, 8, 10)]
    assert queued(first_ends(*ends), n_runs=1)[0].statuses == {"completed": 1}


def test_killed_run_that_comes_no_further_is_given_up(queued: Any, plan: Plan) -> None:
    ends = [{**KILLED, "checkpoint": 2} for _ in range(9)]
    _, store, launcher = queued(first_ends(*ends), n_runs=1)
    assert len(launcher.started) == 4, "the first has come further than none"
    assert store.status(plan.runs[0].id) == "killed"


@pytest.mark.parametrize("ends", [[MEMORY], [KILLED, KILLED]])
def test_run_without_memory_is_tried_again_alone(queued: Any, ends: list[dict[str, Any]]) -> None:
    summary, _, launcher = queued(first_ends(*ends))
    assert summary.statuses == {"completed": 6}
    last = max(index for index, (number, _) in enumerate(launcher.started) if number == 0)
    assert launcher.started[last][1] == set(), "nothing else is at work when it starts"
    assert all(0 not in others for _, others in launcher.started[last + 1 :]), "nor starts beside it"
    assert any(0 in others for _, others in launcher.started[:last]), "as it did before"


def test_runs_that_were_killed_twice_have_their_last_try_alone(queued: Any) -> None:
    summary, _, launcher = queued(lambda number, attempt: KILLED if attempt < 3 else COMPLETED, n_runs=2)
    assert summary.statuses == {"completed": 2}
    assert [others for _, others in launcher.started] == [set(), {0}, {1}, {0}, set(), set()]


def test_storage_error_of_a_run_ends_the_grid_and_leaves_it_missing(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    storage = {"how": "storage", "reason": "metrics.jsonl: cannot be written (No space left on device)"}
    launcher = FakeLauncher(plan, lambda number, attempt: storage if number == 1 else COMPLETED)
    with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be written \(No space left"):
        run_queue(plan.runs, store, launcher)
    assert launcher.stopped == [PATIENCE] and len(launcher.started) < 5
    assert plan.runs[1] in store.to_train(plan.runs)
    assert not (store.directory(plan.runs[1].id)).exists()


def alike(*numbers: int, fingerprint: str = "f1") -> Callable[[int, int], Mapping[str, Any]]:
    reason = "TypeError: no such thing"
    failed = {"how": "committed", "status": "failed", "reason": reason}
    return lambda number, attempt: (
        {**failed, "fingerprint": fingerprint.format(number)} if number in numbers else COMPLETED
    )


def test_three_failures_alike_stop_the_grid_with_one_message(queued: Any, plan: Plan) -> None:
    summary, store, launcher = queued(alike(0, 1, 2, 3, 4, 5))
    assert summary.statuses["failed"] in (3, 4), "what was at work is let finish"
    assert len(launcher.started) == 4
    first, *lines = summary.gave_up.splitlines()
    assert first.startswith("3 runs ended alike (f1) and none succeeded, so the other 2 were not trained: TypeError")
    log = store.directory(plan.runs[2].id) / LOG
    assert lines == ["      of run 2"] * 6 + [
        f"The whole log: {log}. --keep-going trains the others all the same.",
    ]
    assert log.exists()
    assert len(store.to_train(plan.runs)) == 2


@pytest.mark.parametrize(
    ("answers", "options"),
    [
        (alike(0, 1, 2, 3, 4, 5), {"keep_going": True}),
        (alike(1, 2, 3, 4, 5), {}),
        (alike(0, 1, 2, 3, 4, 5, fingerprint="f{}"), {}),
    ],
    ids=["keep_going", "one succeeded", "each of another cause"],
)
def test_failures_do_not_stop_a_grid_that_may_succeed(queued: Any, answers: Any, options: Any) -> None:
    summary, _, launcher = queued(answers, **options)
    assert summary.gave_up is None and len(launcher.started) == 6


def test_three_runs_that_crash_alike_stop_the_grid(queued: Any) -> None:
    summary, _, launcher = queued(lambda number, attempt: CRASH)
    assert "crash a.py:3" in summary.gave_up
    assert len({number for number, _ in launcher.started}) == 4, "a crash is repeated before others are started"


def test_conflict_is_reported_and_the_first_result_counts(queued: Any, plan: Plan) -> None:
    conflict = {"how": "conflict", "status": "completed"}
    summary, _, _ = queued(lambda number, attempt: conflict if number == 0 else COMPLETED, n_runs=2)
    assert [where.partition(".")[0] for where in summary.conflicts] == [plan.runs[0].id]


def test_given_up_run_is_missing_and_not_tried_again(queued: Any, plan: Plan) -> None:
    given_up = {"how": "given_up", "reason": "task.path: x has changed"}
    summary, _, launcher = queued(first_ends(given_up), n_runs=2)
    assert summary.statuses == {"missing": 1, "completed": 1} and summary.executed == 1
    assert len(launcher.started) == 2


def test_an_interrupt_ends_the_ordering_of_runs_as_well(plan: Plan, tmp_path: Path) -> None:
    class Interrupted:
        def started(self, run: Run) -> None:
            signal.raise_signal(signal.SIGINT)

        def ended(self, run: Run, end: RunEnd, again: bool) -> None: ...

        def tick(self) -> None: ...

    launcher = FakeLauncher(plan, lambda number, attempt: COMPLETED, places=100_000)
    summary = run_queue(plan.runs, Store(tmp_path / "runs"), launcher, [Interrupted()])
    assert (summary.interrupted, len(launcher.started)) == (True, 1)


@pytest.mark.parametrize("end", [STOPPED, NEVER_BEGAN])
def test_runs_whose_place_was_lost_are_not_tried_alone(queued: Any, end: dict[str, Any]) -> None:
    summary, _, launcher = queued(lambda number, attempt: end if attempt < 3 else COMPLETED, n_runs=4)
    assert summary.statuses == {"completed": 4}
    assert all(others for _, others in launcher.started[1:]), "another one is always beside it"


def test_run_that_somebody_else_has_finished_since_is_not_trained_again(queued: Any, plan: Plan) -> None:
    class Finishes:
        """A job of an earlier command, which commits the second run while the first is trained."""

        def started(self, run: Run) -> None:
            if run is plan.runs[0]:
                commit_run(Store(tmp), plan.runs[2], RESULT)

        def ended(self, run: Run, end: RunEnd, again: bool) -> None: ...

        def tick(self) -> None: ...

    tmp = queued(first_ends(), n_runs=1)[1].root
    summary, store, launcher = queued(first_ends(), n_runs=3, listeners=[Finishes()])
    assert summary.statuses == {"completed": 3}
    assert [number for number, _ in launcher.started] == [1], "the first was there before"
    assert not (store.root / "store" / "replaced").exists()


def test_run_that_is_trained_in_spite_of_its_end_is_set_aside(queued: Any, plan: Plan) -> None:
    _, store, _ = queued(first_ends(), n_runs=1)
    summary, store, launcher = queued(first_ends(), n_runs=1, replaced=[plan.runs[0].id])
    assert (summary.statuses, len(launcher.started)) == ({"completed": 1}, 1)
    assert len([*(store.root / "store" / "replaced").iterdir()]) == 1


def test_storage_of_another_machine_that_fails_ends_no_other_run(queued: Any, plan: Plan) -> None:
    full = {"how": "storage", "node": "node017", "reason": "/tmp/x: cannot be written (No space left on device)"}
    summary, store, launcher = queued(lambda number, attempt: full if number == 0 else COMPLETED, n_runs=3)
    assert summary.statuses == {"completed": 2, "missing": 1}
    assert [number for number, _ in launcher.started].count(0) == 3
    assert plan.runs[0] in store.to_train(plan.runs)


def test_three_failures_alike_stop_a_launcher_that_has_taken_all_runs(plan: Plan, tmp_path: Path) -> None:
    class Taker(FakeLauncher):
        def leave(self) -> None: ...

    launcher = Taker(plan, alike(0, 1, 2, 3, 4, 5), places=100_000)
    summary = run_queue(plan.runs, Store(tmp_path / "runs"), launcher)
    assert (summary.statuses, launcher.stopped) == ({"failed": 3}, [PATIENCE])
    assert "so the other 3 were not trained" in str(summary.gave_up)


def test_death_of_an_attempt_that_nothing_is_known_of_leaves_no_file(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.order(plan.runs[0])
    end = store.record_death(Ended(plan.runs[0].id, "died", reason="lost", cause="memory"))
    assert end == RunEnd("missing", "lost")
    assert not [*(tmp_path / "runs" / "store").rglob("ended.json")]


def test_three_runs_that_were_canceled_say_nothing_of_the_others(queued: Any) -> None:
    canceled = {"how": "given_up", "cause": CANCELED, "reason": "canceled"}
    summary, _, _ = queued(lambda number, attempt: canceled)
    assert (summary.gave_up, summary.statuses) == (None, {"missing": 6})


def test_failures_are_alike_where_only_numbers_in_their_reasons_differ(queued: Any) -> None:
    summary, _, _ = queued(lambda number, attempt: {"how": "given_up", "reason": f"job{number}: modul: not found"})
    assert "3 runs ended alike (missing: job#: modul: not found)" in summary.gave_up


def test_run_without_memory_is_tried_alone_though_it_has_come_further(queued: Any) -> None:
    _, _, launcher = queued(first_ends({**MEMORY, "checkpoint": 4}))
    assert [others for number, others in launcher.started if number == 0][1] == set()


def test_checkpoint_that_an_attempt_began_with_is_no_progress(queued: Any, plan: Plan) -> None:
    _, store, _ = queued(first_ends({**KILLED, "checkpoint": 4}, KILLED, KILLED, KILLED), n_runs=1)
    assert store.status(plan.runs[0].id) == "killed" and store.attempts()
    _, _, launcher = queued(first_ends(*[KILLED] * 5), n_runs=1)  # the next command
    assert len(launcher.started) == 3


def test_run_that_lacked_memory_beside_others_is_tried_once_more_alone(queued: Any, plan: Plan) -> None:
    lack = {"how": "committed", "status": "oom", "reason": "MemoryError"}
    summary, _, launcher = queued(first_ends(lack, lack), n_runs=3)
    assert summary.statuses == {"completed": 2, "oom": 1}
    assert [others for number, others in launcher.started if number == 0] == [set(), set()]
    summary, _, launcher = queued(first_ends(lack), n_runs=1, replaced=[plan.runs[0].id])
    assert (summary.statuses, len(launcher.started)) == ({"oom": 1}, 1), "it was alone"


def test_launcher_that_gives_a_run_its_own_place_need_not_be_idle(plan: Plan, tmp_path: Path) -> None:
    class Isolator(FakeLauncher):
        shares_gpus = False

        def start_alone(self, order: Order) -> None:
            self.start(order)
            self.alone = self.numbers[order.run_id]

    launcher = Isolator(plan, first_ends(MEMORY))
    run_queue(plan.runs, Store(tmp_path / "runs"), launcher)
    assert launcher.alone == 0
    assert [others for number, others in launcher.started if number == 0][1], "others are at work"


def test_run_that_was_committed_before_its_process_died_counts(plan: Plan, tmp_path: Path) -> None:
    class Silent(FakeLauncher):
        def wait(self, seconds: float) -> Sequence[Ended]:
            (ended,) = super().wait(seconds)
            return [Ended(ended.run_id, "died", reason="killed", where=ended.where, cause="exit")]

    summary = run_queue(plan.runs[:2], Store(tmp_path / "runs"), Silent(plan, first_ends()))
    assert summary.statuses == {"completed": 2}
