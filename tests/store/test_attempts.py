"""An attempt becomes the run by one rename: the first wins, others are compared, and nothing else is touched."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import FAILURE, RESULT, leave

from ablation.errors import StorageError
from ablation.grid.plan import Plan, Run
from ablation.store import attempts
from ablation.store.attempts import Ended, begin, commit, give_up
from ablation.store.checkpoints import ANEW, FAILED_AFTER, checkpoint_step, furthest
from ablation.store.digests import with_digests
from ablation.store.files import read_json, write_json
from ablation.store.runs import Store
from ablation.study.training import prepare_store

ROWS = [{"step": 1, "seconds": 0.5, "train/loss": 2.0, "train/tokens_per_second": 9.0}, {"step": 2, "loss": None}]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def result(seconds: float = 1.0, loss: float = 2.0) -> dict[str, Any]:
    efficiency = {"training_seconds": seconds, "tokens_per_second": 1 / seconds, "tokens": 8}
    return {**RESULT, "quality": {"final": {"loss": loss}}, "efficiency": efficiency, "record": {"host": str(seconds)}}


def attempt_at(store: Store, run: Run, seconds: float = 1.0, weights: bytes = b"w") -> Path:
    """One that is all but committed; what it measured does not depend on its time."""
    attempt = begin(store.order(run))
    rows = [{**row, "seconds": seconds, "train/tokens_per_second": 1 / seconds} for row in ROWS]
    (attempt / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (attempt / "weights.safetensors").write_bytes(weights)
    return attempt


def two_attempts(store: Store, run: Run, weights: bytes = b"w") -> tuple[Path, Path]:
    """Of two commands that train the same run: ``order`` of the second would remove the first one's, so it is kept."""
    first = attempt_at(store, run, 1.0)
    (first.parent / "aside").mkdir()
    kept = first.rename(first.parent / "aside" / first.name)
    second = attempt_at(store, run, 2.0, weights)
    return kept.rename(first), second


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[Path, Path], Any] = lambda a, b: None) -> None:
    """Have every rename of a directory do that and then report an error."""

    def fail(path: Path, target: Path) -> Path:
        act(path, target)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", fail)


def test_committed_attempt_is_the_run_with_all_its_files(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    attempt = attempt_at(store, run)
    (attempt / "log.txt").write_text("said")
    (attempt / "checkpoint").mkdir()
    (attempt / "checkpoint" / "step-1.pt").write_bytes(b"large")
    before = contents(attempt)
    assert commit(attempt, "result.json", result()) == "committed"
    assert not attempt.exists() and store.status(run.id) == "completed"
    after = contents(store.directory(run.id))
    assert set(after) == {*before, "result.json"} - {"checkpoint/step-1.pt"}, "a run needs no checkpoint any more"
    assert {name: before[name] for name in before if name in after} == {
        name: content for name, content in after.items() if name != "result.json"
    }
    assert json.loads(after["attempt.json"])["nonce"] == attempt.name.partition(".")[2]


def test_end_is_written_after_everything_else_is_on_the_disk(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt, synced = attempt_at(store, plan.runs[0]), list[str]()
    monkeypatch.setattr(attempts, "sync", lambda file: synced.append(file.name))
    original = attempts.write_json
    monkeypatch.setattr(attempts, "write_json", lambda *a, **k: (synced.append(a[0].name), original(*a, **k)))
    commit(attempt, "result.json", result())
    assert synced[-1] == "result.json"
    assert {"metrics.jsonl", "weights.safetensors", "run.json", "attempt.json"} <= set(synced[:-1])


def test_first_of_two_attempts_wins_and_an_equal_one_is_dropped(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    first, second = two_attempts(store, run)
    assert commit(second, "result.json", result(2.0)) == "committed"
    before = contents(store.directory(run.id))
    assert commit(first, "result.json", result(1.0)) == "committed", "the same but for its times"
    assert contents(store.directory(run.id)) == before
    assert not first.exists() and not (store.root / "store" / "conflicts").exists()


@pytest.mark.parametrize("different", ["result", "rows", "weights"])
def test_attempt_with_other_numbers_is_kept_as_a_conflict(store: Store, plan: Plan, different: str) -> None:
    run = plan.runs[0]
    first, second = two_attempts(store, run, b"other" if different == "weights" else b"w")
    if different == "rows":
        with (second / "metrics.jsonl").open("a") as stream:
            stream.write('{"step": 3}\n')
    commit(first, "result.json", result())
    before, lost = contents(store.directory(run.id)), contents(second)
    assert commit(second, "result.json", result(loss=3.0 if different == "result" else 2.0)) == "conflict"
    assert contents(store.directory(run.id)) == before
    kept = contents(store.root / "store" / "conflicts" / second.name)
    assert lost.items() <= kept.items() and "result.json" in kept


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_rename_that_went_through_though_it_failed_is_a_commit(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    attempt = attempt_at(store, plan.runs[0])
    refuse(monkeypatch, number, os.rename)
    assert commit(attempt, "result.json", result()) == "committed"
    assert store.status(plan.runs[0].id) == "completed"


def test_rename_that_fails_keeps_the_attempt_for_the_next_command(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = plan.runs[:2]
    attempt, at_work = attempt_at(store, run), begin(store.order(other))
    with monkeypatch.context() as patched:
        refuse(patched, errno.EIO)
        with pytest.raises(StorageError, match=rf"{run.id}: cannot be written \(Input/output error\)"):
            commit(attempt, "result.json", result())
    before = contents(attempt)
    assert store.to_train([run]) == [run]
    store.finish_attempts()
    assert store.status(run.id) == "completed" and store.to_train([run]) == []
    assert contents(store.directory(run.id)) == before
    assert at_work.exists(), "it has no end yet"


def test_commit_touches_nothing_but_its_own_attempt(store: Store, plan: Plan) -> None:
    run, other = plan.runs[:2]
    attempt, neighbor, order = attempt_at(store, run), attempt_at(store, other), store.order(other)
    leave(store, plan.runs[2], RESULT)
    places = [neighbor, order.directory, store.directory(plan.runs[2].id)]
    before = [contents(place) for place in places]
    commit(attempt, "failure.json", FAILURE)
    assert [contents(place) for place in places] == before


def with_checkpoint(store: Store, run: Run, step: int) -> Path:
    attempt = begin(store.order(run))
    (attempt / "metrics.jsonl").write_text(f'{{"step": {step}}}\n')
    (attempt / "checkpoint").mkdir(exist_ok=True)
    (attempt / "checkpoint" / f"step-{step}.json").write_text(f'{{"step": {step}}}')
    (attempt / "checkpoint" / f"step-{step}.pt").write_bytes(b"state")
    (attempt / "checkpoint" / ".step-9.pt.tmp").write_bytes(b"half")
    return attempt


def test_attempt_begins_with_checkpoint_and_rows_of_the_furthest(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    earlier = with_checkpoint(store, run, 4)
    before = contents(earlier)
    begin(store.order(run))  # which comes to nothing
    later = begin(store.order(run))
    copied = contents(later)
    assert {name: copied[name] for name in before if name not in ("attempt.json", "checkpoint/.step-9.pt.tmp")} == {
        name: content for name, content in before.items() if name not in ("attempt.json", "checkpoint/.step-9.pt.tmp")
    }
    assert "checkpoint/.step-9.pt.tmp" not in copied
    assert contents(earlier) == before, "it stays as it was"
    assert json.loads(copied["attempt.json"])["nonce"] != json.loads(before["attempt.json"])["nonce"]
    assert furthest([earlier, begin(store.order(plan.runs[1]))]) == earlier


def test_order_keeps_one_earlier_attempt_and_conclude_none(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    first = with_checkpoint(store, run, 4)
    begin(store.order(run))
    order = store.order(run)
    assert store.attempts()[run.id] == [first], "the one with the furthest checkpoint"
    store.conclude(run.id)
    assert first.exists() and order.directory.exists(), "the run has no end yet"
    commit(begin(order), "result.json", RESULT)
    store.conclude(run.id)
    assert store.attempts() == {} and not order.directory.exists()


def test_run_that_failed_is_gone_on_from_once(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    rows = (with_checkpoint(store, run, 4) / "metrics.jsonl").read_bytes()
    commit(begin(store.order(run)), "failure.json", FAILURE)
    store.conclude(run.id)
    assert store.status(run.id) == "failed" and store.attempts() == {}

    for _ in range(2):  # as where the command was killed in between
        order = store.order(run)
    again = begin(order)
    assert checkpoint_step(again) == 4 and (again / "metrics.jsonl").read_bytes() == rows
    commit(again, "failure.json", FAILURE)
    store.conclude(run.id)
    assert checkpoint_step(begin(store.order(run))) is None, "it failed again after that checkpoint"
    states = (store.root / "store").rglob("step-*.pt")
    assert not [*states], "nothing that nobody goes on from is kept"


def test_run_that_failed_later_is_gone_on_from_its_newer_checkpoint(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    for step in (4, 7):
        attempt = with_checkpoint(store, run, step)
        commit(attempt, "failure.json", FAILURE)
        store.conclude(run.id)
    assert checkpoint_step(begin(store.order(run))) == 7


def test_given_up_attempt_says_why_its_run_is_missing(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    attempt = begin(store.order(run))
    assert store.status(run.id) == "stopped"
    give_up(attempt, "data_changed", "they are other data")
    assert (store.end(run.id).status, store.end(run.id).reason) == ("missing", "they are other data")
    give_up(attempt, "killed", "killed by SIGKILL")
    assert (store.end(run.id).status, store.end(run.id).reason) == ("killed", "killed by SIGKILL")
    assert store.ends([run.id])[run.id] == store.end(run.id)
    assert store.to_train([run]) == [run]


def test_no_hard_link_is_made(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda *_, **__: pytest.fail("a hard link was made"))
    store.probe()
    first, second = two_attempts(store, plan.runs[0])
    assert commit(first, "result.json", result()) == commit(second, "result.json", result()) == "committed"


def overwrite(path: Path, target: Path) -> Path:
    """A rename as some file systems have it: what is there is gone."""
    if target.exists():
        for file in target.iterdir():
            file.unlink()
    return path.replace(target)


def test_probe_leaves_nothing_where_a_rename_is_a_commit(store: Store) -> None:
    store.probe()
    assert contents(store.root) == {} and [*(store.root / "store" / "attempts").iterdir()] == []


@pytest.mark.parametrize("kind", ["fails", "overwrites"])
def test_probe_says_in_one_line_that_renames_do_not_commit(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "fails":
        refuse(monkeypatch, errno.EPERM)
    else:
        monkeypatch.setattr(Path, "rename", overwrite)
    what = {"fails": r"cannot be renamed here \(Operation not permitted\)", "overwrites": "can be replaced by renaming"}
    with pytest.raises(StorageError, match=what[kind]) as caught:
        store.probe()
    assert "\n" not in str(caught.value) and "--runs" in str(caught.value)
    assert [*(store.root / "store" / "attempts").iterdir()] == []


def test_attempt_of_a_process_that_lives_is_left_alone(store: Store, plan: Plan) -> None:
    """It belongs to another command, which may train here where no lock holds."""
    run = plan.runs[0]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        attempt = begin(store.order(run))
        about = read_json(attempt / "attempt.json")
        begun = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        write_json(attempt / "attempt.json", {**about, "process": other.pid, "begun": begun})
        store.order(run)
        assert attempt.exists()
        other.communicate(b"\n")
    store.order(run)
    assert not attempt.exists()


def test_attempt_that_meets_a_damaged_run_is_kept_beside_it(store: Store, plan: Plan) -> None:
    """Neither is lost, and no command is stopped by it."""
    run = plan.runs[0]
    first, second = two_attempts(store, run)
    assert commit(first, "result.json", result()) == "committed"
    (store.directory(run.id) / "result.json").write_text("{")
    assert commit(second, "result.json", result()) == "conflict"
    assert (store.directory(run.id) / "result.json").read_text() == "{"


def test_conflict_of_a_killed_command_is_named_by_the_next_one(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_attempts(store, plan.runs[0])
    commit(first, "result.json", result(loss=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "rename", lambda attempt: "committed")  # it is killed before
        commit(second, "result.json", result(loss=2.0))
    (line,) = prepare_store(store, plan, ())
    assert f"conflicts/{second.name}: trained with other numbers" in line


def test_attempt_that_is_committed_while_it_is_listed_is_none(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan.runs[0]
    attempt, scandir = attempt_at(store, run), os.scandir

    class Listing:
        """Of a folder whose entries are renamed as soon as they have been read."""

        def __init__(self, folder: Path) -> None:
            self.entries = scandir(folder)

        def __enter__(self) -> list[os.DirEntry[str]]:
            with self.entries:
                entries = list(self.entries)
            if attempt.exists():
                assert commit(attempt, "result.json", result()) == "committed"
            return entries

        def __exit__(self, *_: object) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(attempts.os, "scandir", Listing)
        assert attempts.all_attempts(store.root / "store") == {}
    assert store.live_directories([run.id]) == {run.id: store.directory(run.id)}


@pytest.mark.parametrize(("seconds", "is_left"), [(0.0, True), (2 * attempts.RECENT, False)])
def test_attempt_of_another_machine_goes_with_the_end_of_its_run_unless_it_may_be_at_work(
    store: Store, plan: Plan, seconds: float, is_left: bool
) -> None:
    other = attempt_at(store, plan.runs[0])
    about = read_json(other / "attempt.json")
    write_json(other / "attempt.json", {**about, "host": "node017"})
    for file in other.iterdir():
        os.utime(file, (time.time() - seconds,) * 2)
    kept = other.rename(other.parent.parent / other.name)
    commit(attempt_at(store, plan.runs[0]), "result.json", RESULT)
    kept.rename(other)
    store.conclude(plan.runs[0].id)
    assert other.exists() == is_left
    for file in other.iterdir() if is_left else ():
        os.utime(file, (0, 0))
    list(prepare_store(store, plan, ()))
    assert not other.exists(), "the next command removes it"


def test_order_that_cannot_be_read_is_said_with_its_path(store: Store, plan: Plan) -> None:
    order = store.order(plan.runs[0])
    (order.directory / "run.json").unlink()
    with pytest.raises(StorageError, match=r"run\.json: cannot be read \(No such file or directory\)"):
        begin(order)
    assert not store.attempts()


def test_attempt_that_could_not_use_a_checkpoint_counts_from_there(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    unusable = with_checkpoint(store, run, 8)
    anew = with_checkpoint(store, run, 3)
    for file in (anew / "checkpoint").glob("step-8.*"):
        file.unlink()
    (anew / "checkpoint" / ANEW).touch()
    assert furthest([unusable, anew]) == anew
    store.order(run)
    assert store.attempts()[run.id] == [anew], "the other one is of no use"


def test_attempt_that_was_killed_before_it_became_the_run_is_its_end(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    attempt = attempt_at(store, run)
    write_json(attempt / "result.json", with_digests(attempt, {"schema": 1, "id": run.id, **result()}))
    end = store.record_death(Ended(run.id, "died", reason="killed", where=attempt.name, cause="crash"))
    assert end.status == "completed" and not attempt.exists()
    second = attempt_at(store, plan.runs[1])
    write_json(second / "result.json", with_digests(second, {"schema": 1, "id": plan.runs[1].id, **result()}))
    ended = store.order(plan.runs[1], keep_end=True)
    assert isinstance(ended, Ended) and (ended.how, ended.status) == ("committed", "completed")
    assert store.status(plan.runs[1].id) == "completed"


def test_conflict_that_is_found_while_a_run_is_ordered_is_named(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    first, second = two_attempts(store, run, b"other weights")
    for attempt in (first, second):
        write_json(attempt / "result.json", with_digests(attempt, {"schema": 1, "id": run.id, **result()}))
    ended = store.order(run, keep_end=True)
    assert isinstance(ended, Ended) and (ended.how, ended.status) == ("conflict", "completed")
    assert (store.root / "store" / "conflicts" / ended.where).is_dir()


@pytest.mark.parametrize("ends", [("failure.json", "result.json"), ("result.json", "failure.json")])
def test_result_comes_before_a_failure_whichever_ended_first(store: Store, plan: Plan, ends: tuple[str, str]) -> None:
    for attempt, end in zip(two_attempts(store, plan.runs[0]), ends, strict=True):
        assert commit(attempt, end, {"failure.json": FAILURE, "result.json": RESULT}[end]) == "committed"
    assert store.status(plan.runs[0].id) == "completed"
    assert not (store.root / "store" / "conflicts").exists() and not store.attempts()


def test_failure_leaves_no_half_checkpoint(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    commit(with_checkpoint(store, run, 4), "failure.json", FAILURE)
    assert {file.name for file in (store.directory(run.id) / "checkpoint").iterdir()} == {
        "step-4.json",
        "step-4.pt",
        FAILED_AFTER,
    }


def test_attempt_begins_anew_where_the_one_before_is_removed_meanwhile(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_checkpoint(store, plan.runs[0], 4)
    order = store.order(plan.runs[0])

    def gone(*_: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr("ablation.store.checkpoints.shutil.copyfile", gone)
    assert not (begin(order) / "checkpoint").exists()


def test_checkpoint_is_copied_so_that_half_of_it_does_not_count(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (with_checkpoint(store, plan.runs[0], 4) / "checkpoint" / ANEW).touch()
    copied: list[str] = []
    monkeypatch.setattr("ablation.store.checkpoints.shutil.copyfile", lambda _, to: copied.append(to.name))
    begin(store.order(plan.runs[0]))
    assert copied == ["metrics.jsonl", "step-4.pt", "step-4.json", ANEW]
