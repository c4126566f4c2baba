"""What a check of the store finds, and what repairing does about it."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.small_grids import permissions_count
from support.stores import begin_run, everything, finish_grid, finish_run, result, write_files

from ablation.grid.plan import Plan
from ablation.store.attempts import Order, begin, commit
from ablation.store.check import Check, Problem, mend, unfinished
from ablation.store.digests import with_digests
from ablation.store.files import read_json, write_json
from ablation.store.lock import HOLDER
from ablation.store.runs import Store
from ablation.store.same_numbers import numbers
from ablation.study.manifest import save_plan


def problems(store: Store) -> list[Problem]:
    return list(Check(store).problems())


def kinds(store: Store) -> list[str]:
    return [problem.kind for problem in problems(store)]


def repair(store: Store) -> list[str | None]:
    with store.lock():
        return [mend(problem) for problem in Check(store, alone=True).problems()]


def test_check_finds_nothing_in_what_runs_write(store: Store, plan: Plan) -> None:
    directories = finish_grid(store, plan)
    recorded = read_json(directories[0] / "result.json")["files"]
    assert sorted(recorded) == ["example_losses.npy", "metrics.jsonl", "run.json", "weights.safetensors"]
    check = Check(store)
    assert list(check.problems()) == []
    seen = check.counts
    assert (seen.runs, seen.grids, seen.in_no_grid, seen.not_trained) == (len(plan.runs), 1, 0, 0)
    assert (seen.without_digests, seen.without_weights, seen.stopped) == (0, 0, 0)


def test_check_of_a_folder_without_runs_is_clean(store: Store) -> None:
    store.root.mkdir()
    assert problems(store) == []


@pytest.mark.parametrize(
    "name", ["run.json", "metrics.jsonl", "example_losses.npy", "weights.safetensors", "result.json"]
)
def test_check_finds_every_file_that_was_changed(store: Store, plan: Plan, name: str) -> None:
    directory, *_ = finish_grid(store, plan)
    content = (directory / name).read_bytes()
    before, one, after = content.rpartition(b"1")
    changed = before + b"7" + after if one else content[:-1] + b"!"
    assert changed != content
    (directory / name).write_bytes(changed)
    (problem,) = problems(store)
    assert (problem.kind, problem.where) == ("damaged_run", directory / name)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "example_losses.npy"])
def test_check_finds_every_file_that_is_gone(store: Store, plan: Plan, name: str) -> None:
    directory, *_ = finish_grid(store, plan)
    (directory / name).unlink()
    (problem,) = problems(store)
    assert (problem.kind, problem.where, problem.what) == ("damaged_run", directory / name, "it is gone")


@pytest.mark.parametrize("content", ["null", "[]", "{}", '{"schema": 1}', "{", "[" * 5000, '{"a": NaN}', ""])
@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_check_finds_json_that_is_not_a_runs(store: Store, plan: Plan, name: str, content: str) -> None:
    directory, *_ = finish_grid(store, plan)
    (directory / name).write_text(content)
    assert [(problem.kind, problem.where) for problem in problems(store)] == [("damaged_run", directory / name)]


def test_check_finds_an_identity_of_another_run(store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    record = read_json(directory / "run.json")
    record["identity"]["seed"] += 1
    write_json(directory / "run.json", record)
    end = {key: value for key, value in read_json(directory / "result.json").items() if key not in ("files", "sha256")}
    (directory / "result.json").unlink()
    write_json(directory / "result.json", with_digests(directory, end))
    (problem,) = problems(store)
    assert problem.where == directory / "run.json"
    assert "identity" in problem.what


def test_check_accepts_deleted_weights_states_and_logs(store: Store, plan: Plan) -> None:
    attempt = begin_run(store, plan.runs[0])
    for name in ("continue.pt", "continue.json"):
        (attempt / name).write_text("{}")
    commit(attempt, "result.json", result())
    store.conclude(plan.runs[0].id)
    directory = store.directory(plan.runs[0].id)
    assert "continue.json" in read_json(directory / "result.json")["files"]
    for name in ("weights.safetensors", "log.txt", "continue.pt", "continue.json"):
        (directory / name).unlink()
    check = Check(store)
    assert list(check.problems()) == []
    assert check.counts.without_weights == 1


def test_check_without_weights_leaves_them_unread(store: Store, plan: Plan) -> None:
    directory, *_ = finish_grid(store, plan)
    (directory / "weights.safetensors").write_bytes(b"other")
    assert list(Check(store, large=False).problems()) == []
    assert kinds(store) == ["damaged_run"]


def test_check_accepts_runs_of_earlier_versions(store: Store, plan: Plan) -> None:
    directory, other, *_ = finish_grid(store, plan)
    for one in (directory, other):
        end = read_json(one / "result.json")
        del end["files"], end["sha256"]
        write_json(one / "result.json", end)
    check = Check(store)
    assert list(check.problems()) == []
    assert check.counts.without_digests == 2
    write_json(other / "result.json", {**end, "quality": None})
    assert [problem.where for problem in problems(store)] == [other / "result.json"]


def test_check_leaves_a_run_of_a_later_version_alone(store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    write_json(directory / "result.json", {**read_json(directory / "result.json"), "schema": 2})
    before = everything(store.root)
    assert kinds(store) == ["unreadable"]
    assert repair(store) == [None]
    assert everything(store.root) == before


def test_check_leaves_what_it_may_not_read_alone(store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    (directory / "metrics.jsonl").chmod(0)
    with permissions_count():
        assert kinds(store) == ["unreadable"]
        assert repair(store) == [None]
    (directory / "metrics.jsonl").chmod(0o644)
    assert kinds(store) == []


def test_check_never_reads_outside_of_a_runs_folder(store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    end = {key: value for key, value in read_json(directory / "result.json").items() if key not in ("files", "sha256")}
    for path in ("../../secret", "/etc/passwd", "a//b", "C:\\x"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ablation.store.digests.FILES", "others")
            write_json(directory / "result.json", with_digests(directory, {**end, "files": {path: "0" * 64}}))
        (problem,) = problems(store)
        assert "no list of files" in problem.what


def test_repair_moves_a_damaged_run_aside(store: Store, plan: Plan) -> None:
    directory, *others = finish_grid(store, plan)
    (directory / "metrics.jsonl").write_text("{}\n")
    before = everything(directory)
    assert repair(store) == [f"moved to store/damaged/{directory.name}-1"]
    assert everything(store.root / "store" / "damaged" / f"{directory.name}-1") == before
    assert store.status(directory.name) == "missing"
    check = Check(store)
    assert list(check.problems()) == []
    assert check.counts.aside["damaged"] == (1, sum(map(len, before.values())))
    assert (check.counts.runs, check.counts.not_trained) == (len(others), 1)


def test_check_without_repair_changes_nothing(store: Store, plan: Plan) -> None:
    directory, *_ = finish_grid(store, plan)
    (directory / "metrics.jsonl").write_text("{}\n")
    (directory / ".result.json.12.tmp").touch()
    (store.root / "store" / "foo").touch()
    before = everything(store.root)
    assert sorted(kinds(store)) == ["damaged_run", "unfinished", "unknown"]
    assert everything(store.root) == before


@pytest.mark.parametrize("of_the_run", [True, False])
def test_repair_finishes_attempts_that_had_ended(store: Store, plan: Plan, of_the_run: bool) -> None:
    run = plan.runs[0]
    attempt = begin_run(store, run, 2.0)
    commit(attempt, "result.json", result(2.0))
    store.directory(run.id).rename(attempt)
    if not of_the_run:
        other = write_files(begin(Order(run.id, store.root / "store" / "orders" / run.id)), 3.0)
        commit(other, "result.json", result(3.0))
    assert "ended_attempt" in kinds(store)
    repair(store)
    assert kinds(store) == []
    assert list((store.root / "store" / "attempts").iterdir()) == []
    assert numbers(store.directory(run.id))[0]["quality"]["final"] == {"loss": 2.0 if of_the_run else 3.0}
    assert (store.root / "store" / "conflicts" / attempt.name).exists() == (not of_the_run)


def test_repair_removes_what_finished_runs_left(store: Store, plan: Plan) -> None:
    first, second = plan.runs[:2]
    finish_run(store, first)
    begin_run(store, second)
    for left in (f"orders/{first.id}", f"attempts/{first.id}.abc", "attempts/.probe.1.tmp/first", "00/.x.1.tmp"):
        (store.root / "store" / left).mkdir(parents=True)
    (store.root / "store" / "orders" / first.id / "run.json").touch()
    (store.directory(first.id) / ".mirror.json.17").touch()
    check = Check(store)
    found = sorted(problem.kind for problem in check.problems())
    assert found == ["leftover_attempt", "leftover_order", "unfinished", "unfinished", "unfinished"]
    assert (check.counts.stopped, check.counts.orders) == (1, 1)
    assert repair(store) == ["deleted"] * 5
    assert kinds(store) == []
    assert store.status(second.id) == "stopped"
    assert not list(store.root.rglob("*.tmp"))


def test_repair_moves_a_run_to_where_it_belongs(store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    wrong = store.root / "store" / ("00" if plan.runs[0].id[:2] != "00" else "01") / directory.name
    wrong.parent.mkdir()
    directory.rename(wrong)
    assert kinds(store) == ["misplaced_run"]
    repair(store)
    assert kinds(store) == []
    assert store.status(directory.name) == "completed"


def test_check_names_what_ablate_does_not_write(store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    entries = [directory.parent / "notes", store.root / "store" / "foo", store.root / "store" / "orders" / "mine"]
    for entry in entries:
        entry.mkdir(parents=True)
    link = directory.parent / ("ab" * 16)
    link.symlink_to(directory)
    assert {(problem.kind, problem.where) for problem in problems(store)} == {
        ("unknown", entry) for entry in [*entries, link]
    }
    (store.root / "README.md").write_text("beside the grids, anything may lie")
    assert len(problems(store)) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda manifest: {},
        lambda manifest: {**manifest, "cells": None},
        lambda manifest: {**manifest, "cells": [None]},
        lambda manifest: {**manifest, "cells": [{"runs": [{"id": 3}]}]},
        lambda manifest: {**manifest, "grid": "other"},
        lambda manifest: {**manifest, "schema": 9},
        lambda manifest: {**manifest, "factors": [{**manifest["factors"][0], "levels": None}]},
        lambda manifest: None,
    ],
)
def test_check_finds_damaged_manifests(store: Store, plan: Plan, damage: Callable[[object], object]) -> None:
    finish_run(store, plan.runs[0])
    manifest = save_plan(plan, store)
    (store.root / plan.name / "manifest.json").write_text(json.dumps(damage(manifest)))
    check = Check(store)
    assert [problem.kind for problem in check.problems()] == ["damaged_manifest"]
    assert check.counts.in_no_grid == 0  # as it is not known


def test_check_finds_damaged_files_beside_a_manifest(store: Store, plan: Plan) -> None:
    finish_grid(store, plan)
    copy = store.root / plan.name / "plugins" / f"{'0' * 64}.py"
    copy.parent.mkdir()
    copy.write_text("not of that name")
    (store.root / plan.name / "bench.json").write_text(
        '{"cells": [{"label": "a", "measures": {"decode": {"value": "x"}}}]}'
    )
    assert kinds(store) == ["damaged_bench", "damaged_plugin"]
    assert repair(store) == [None, "deleted"]
    assert not copy.exists()


def test_check_leaves_what_a_command_works_on_alone(store: Store, plan: Plan) -> None:
    finish_grid(store, plan)
    begin_run(store, plan.runs[0])
    (store.root / "store" / "attempts" / ".x.tmp").mkdir()
    with store.lock():
        assert (store.root / HOLDER).exists()
        check = Check(store)
        assert list(check.problems()) == []
        assert check.counts.being_trained


def test_check_counts_runs_that_no_grid_names(store: Store, plan: Plan) -> None:
    finish_run(store, plan.runs[0])
    finish_run(store, plan.runs[1])
    cells = (replace(plan.cells[0], runs=(plan.runs[0], plan.runs[2])),)
    save_plan(replace(plan, cells=cells), store)
    check = Check(store)
    assert list(check.problems()) == []
    assert (check.counts.in_no_grid, check.counts.not_trained) == (1, 1)


def test_check_survives_a_name_that_is_no_text(store: Store, plan: Plan) -> None:
    finish_run(store, plan.runs[0])
    Path(os.fsdecode(os.fsencode(store.root / "store") + b"/\xff")).touch()
    assert kinds(store) == ["unknown"]


def test_digests_are_no_numbers_of_a_run(store: Store, plan: Plan) -> None:
    first = begin_run(store, plan.runs[0])
    second = write_files(begin(Order(plan.runs[0].id, store.root / "store" / "orders" / plan.runs[0].id)))
    (second / "metrics.jsonl").write_text('{"step": 1, "tokens": 8, "seconds": 2.0, "loss": 1.0}\n')
    assert commit(first, "result.json", result()) == "committed"
    assert commit(second, "result.json", result()) == "committed"
    assert not (store.root / "store" / "conflicts").exists()


def test_weights_are_missed_of_completed_runs_alone(store: Store, plan: Plan) -> None:
    commit(begin_run(store, plan.runs[0]), "result.json", {**result(), "status": "diverged"})
    store.conclude(plan.runs[0].id)
    (store.directory(plan.runs[0].id) / "weights.safetensors").unlink()
    check = Check(store)
    list(check.problems())
    assert (check.counts.runs, check.counts.without_weights) == (1, 0)


def test_files_of_an_attempt_that_may_be_at_work_elsewhere_are_no_leftovers(store: Store, plan: Plan) -> None:
    attempt = begin_run(store, plan.runs[0])
    (attempt / ".weights.safetensors.abc.tmp").write_bytes(b"half")
    assert [path.name for path in unfinished(store.root)] == [".weights.safetensors.abc.tmp"]
    about = read_json(attempt / "attempt.json")
    write_json(attempt / "attempt.json", {**about, "host": "node017"})
    assert list(unfinished(store.root)) == []
