"""Slurm: its settings, and what is refused; `scenarios` has what happens on a real one."""

import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.small_grids import BASE, Ablate, one_line, plan_of, write_grid
from support.stores import result, write_files

from ablation.errors import InputError
from ablation.grid.file import LARGEST_GRID
from ablation.launch import slurm_jobs, slurm_launcher, slurm_submission, slurm_task
from ablation.launch.base import CANCELED, Isolating
from ablation.launch.choice import engine_of
from ablation.launch.engine import Place
from ablation.launch.ray import Ray
from ablation.launch.slurm import Slurm, minutes
from ablation.launch.slurm_launcher import SlurmLauncher
from ablation.launch.slurm_task import Outcomes, outcome_file
from ablation.store.attempts import Order, begin, commit, run_directory
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study.manifest import save_plan


def test_without_slurm_the_launcher_says_so(ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch is not on the path" in one_line(ablate("run", write_grid(tmp_path), "--launcher", "slurm"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("launcher: slrm", "launcher.yaml:1:1: launcher: 'slrm' is not a launcher; allowed: local, ray, slurm"),
        ("launcher: slurm\ncpu: 2", "launcher.yaml:2:1: cpu: unknown key"),
        ("launcher: slurm\nruns_per_job: 0", "launcher.yaml:2:1: runs_per_job: "),
        ("cpus: 2", "launcher: names the engine"),
        ("launcher: slurm\nrun: {cpus: 0}", "launcher.yaml:2:7: run.cpus: must be at least 1"),
        (
            "launcher: slurm\ncpus: 2\nrun: {cpus: 2}",
            "launcher.yaml:3:7: run.cpus: is given a second time, beside cpus",
        ),
        ("launcher: slurm\nrun: 2", "launcher.yaml:2:1: run: must be a mapping of what a run gets: cpus, gpus, memory"),
        ("launcher: slurm\nrun: {at_once: 2}", "launcher.yaml:2:1: run: must be a mapping"),
        ("launcher: local\nrun: {cpus: 2}", "launcher.yaml:2:7: run.cpus: unknown key"),
        ("launcher: ray\nmemory: 4X", "launcher.yaml:2:1: memory: must be a number"),
        ("launcher: ray\nmemory: 0G", "launcher.yaml:2:1: memory: must be greater than 0"),
    ],
)
def test_a_wrong_file_is_refused_at_its_line(tmp_path: Path, content: str, what: str) -> None:
    file = tmp_path / "launcher.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        engine_of(str(file))
    assert what in str(caught.value)


def test_an_unknown_launcher_and_a_detached_local_one_are_refused(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    assert "did you mean 'slurm'" in one_line(ablate("run", grid, "--launcher", "slrum"))
    assert "end with the command" in one_line(ablate("run", grid, "--detach"))


def test_shipped_launchers_are_read() -> None:
    folder = BASE.parent / "launchers"
    engines = {file.stem: engine_of(str(file)) for file in folder.glob("*.yaml")}
    assert set(engines) == {"local", "ray", "slurm"}
    assert isinstance(engines["slurm"], Slurm)
    assert engines["slurm"].arguments(1) == ["--cpus-per-task=2", "--mem=4G", "--time=4:00:00"]


def test_what_a_run_gets_may_be_written_in_a_block(tmp_path: Path) -> None:
    file = tmp_path / "launcher.yaml"
    file.write_text("launcher: slurm\nrun: {cpus: 2, gpus: 0.25, memory: 4G}\n")
    engine = engine_of(str(file))
    assert isinstance(engine, Slurm)
    assert engine.arguments(1) == ["--cpus-per-task=8", "--gres=gpu:1", "--mem=4G"]
    file.write_text("launcher: ray\nrun: {cpus: 2, gpus: 0.25, memory: 4G}\n")
    of_ray = engine_of(str(file))
    assert isinstance(of_ray, Ray)
    assert of_ray.needs(1) == {"CPU": 2.0, "GPU": 0.25, "memory": 4 * 2**30}


def test_options_without_a_value_are_written_as_true_or_null(tmp_path: Path) -> None:
    file = tmp_path / "launcher.yaml"
    file.write_text("launcher: slurm\noptions: {exclusive: true, hold: null, contiguous: false, nice: 0, tmp: 1}\n")
    engine = engine_of(str(file))
    assert isinstance(engine, Slurm)
    assert engine.arguments(1)[1:] == ["--exclusive", "--hold", "--nice=0", "--tmp=1"]


def test_several_runs_share_a_gpu() -> None:
    engine = Slurm(gpus=0.25, cpus=2)
    assert engine.runs_at_once == 4
    assert engine.arguments(1) == ["--cpus-per-task=8", "--gres=gpu:1"]


@pytest.mark.parametrize(("gpus", "several"), [(0.0, False), (0.25, True), (0.6, False), (1.0, False), (2.0, False)])
def test_launchers_say_whether_several_runs_train_on_one_gpu(
    recorded: Path, tmp_path: Path, gpus: float, several: bool
) -> None:
    launcher = Slurm(gpus=gpus).open(Place(tmp_path / "runs", "small", 1, (), 1, 1, print))
    assert isinstance(launcher, SlurmLauncher) and launcher.shares_gpus == several


@pytest.mark.parametrize(
    ("limit", "found"), [("30", 30), ("4:30", 4.5), ("4:00:00", 240), ("1-2", 1560), ("1-0:10", 1450), ("0:30", 0.5)]
)
def test_time_limits_are_read_as_slurm_does(limit: str, found: float) -> None:
    assert minutes(limit) == found


def test_a_line_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file, outcomes = tmp_path / "a.0.jsonl", Outcomes()
    assert list(outcomes.new(file)) == []
    file.write_text('{"run_id": "a", "how": "committed", "status": "completed"}\n{"run_id": "b", ')
    assert [ended.run_id for ended in outcomes.new(file)] == ["a"]
    with file.open("a") as stream:
        stream.write('"how": "died"}\n')
    assert [(ended.run_id, ended.how) for ended in outcomes.new(file)] == [("b", "died")]
    assert list(outcomes.new(file)) == []


def test_a_damaged_line_hides_no_other(tmp_path: Path) -> None:
    damaged = ["{", "[" * 100_000, "null", "7", "[1]", '{"run_id": "b"}', '{"run_id": "b", "how": "went"}', "\0\0\0",
               '{"run_id": ["b"], "how": "died"}', '{"run_id": "b", "how": "committed", "status": "fine"}']  # fmt: skip
    whole = '{"run_id": "a", "how": "committed", "status": "completed"}'
    file = tmp_path / "a.0.jsonl"
    file.write_text("\n".join([*damaged, whole, ""]))
    assert [ended.run_id for ended in Outcomes().new(file)] == ["a"]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that has the arguments of each sbatch, of programs that take the place of Slurm's."""
    file, programs = tmp_path / "sbatch.txt", tmp_path / "programs"
    programs.mkdir()
    for name, script in {
        "sbatch": f'echo "$@" >> {file}; echo 7',
        "squeue": "true",
        "sinfo": "exit 1",
        "scontrol": "echo 'MaxArraySize = 3'",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return file


def test_tasks_at_once_are_divided_among_the_arrays_of_a_submission(recorded: Path, tmp_path: Path) -> None:
    said: list[str] = []
    place = Place(tmp_path / "runs", "small", 1, (), 1, 1, said.append)
    launcher = Slurm(runs_per_job=2, at_once=4).open(place)
    assert launcher.free == LARGEST_GRID
    for number in range(7):
        launcher.start(Order(f"{number:032x}", tmp_path / "runs" / "store" / "orders" / f"{number:032x}"))
    launcher.wait(0.0)
    test, *arrays = recorded.read_text().splitlines()
    assert "--test-only" in test
    assert [re.findall(r"--array=(\S+)", line) for line in arrays] == [["0-1%2"], ["0-1%2"]]
    assert said == ["slurm: 4 runs as 2 tasks of job 7, 2 at once", "slurm: 3 runs as 2 tasks of job 7, 2 at once"]


def test_what_tasks_may_wait_for_for_ever_is_said_once(recorded: Path, tmp_path: Path) -> None:
    said: list[str] = []
    launcher = Slurm().open(Place(tmp_path / "runs", "small", 1, (), 1, 1, said.append))
    for number in range(2):
        launcher.start(Order(f"{number:032x}", tmp_path / "runs" / "store" / "orders" / f"{number:032x}"))
    launcher.wait(0.0)
    (file,) = (tmp_path / "runs" / ".slurm").glob("*.json")
    for nodes in ("n[1-4]", "n[1-3]"):
        queue = [f"ablate-{file.stem} 0 PENDING ReqNodeNotAvail, UnavailableNodes:{nodes}",
                 f"ablate-{file.stem} 1 PENDING Resources"]  # fmt: skip
        script = "\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in queue), ""])
        (tmp_path / "programs" / "squeue").write_text(script)
        launcher.asked = 0.0
        launcher.wait(0.0)
    assert [line for line in said if "waiting" in line] == ["slurm: 1 task waiting: ReqNodeNotAvail"]
    assert len(launcher.running) == 2


ENDS = (".json", ".0.jsonl", ".0.log")
"""Of the names of files of an array."""
Launched = Callable[..., tuple[SlurmLauncher, list[str]]]
STORE = "runs/store"


def order_of(folder: Path, number: int) -> Order:
    run_id = f"{number:032x}"
    order = Order(run_id, folder / STORE / "orders" / run_id)
    write_json(order.directory / "run.json", {"id": run_id})
    return order


def program(folder: Path, name: str, script: str) -> None:
    """Put a program in the place of one of Slurm's."""
    (folder / "programs" / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / "programs" / name).chmod(0o755)


def queue_of(folder: Path, *lines: str) -> None:
    program(folder, "squeue", "\n".join(f"echo '{line}'" for line in lines) or "true")


@pytest.fixture
def launched(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    """A launcher to which runs of these numbers were given, and what it says; Slurm has them unless it refuses."""
    for module, name in ((slurm_launcher, "GRACE"), (slurm_submission, "SUBMIT_EVERY"), (slurm_launcher, "ASK_EVERY")):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(slurm_jobs, "PAUSE", 0.0)
    program(tmp_path, "scancel", f'echo "$@" >> {tmp_path}/scancel.txt')

    def launch(*numbers: int, runs_per_job: int = 2) -> tuple[SlurmLauncher, list[str]]:
        said: list[str] = []
        place = Place(tmp_path / "runs", "small", 1, (), 1, 1, said.append)
        launcher = Slurm(runs_per_job=runs_per_job).open(place)
        assert isinstance(launcher, SlurmLauncher)
        for number in numbers:
            launcher.start(order_of(tmp_path, number))
        launcher.wait(0.0)
        return launcher, said

    return launch


def arrays(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "runs" / ".slurm").glob("*.json"))


def tell(folder: Path, launcher: SlurmLauncher, number: int, **ended: object) -> None:
    """Have the task that has a run say how it ended."""
    with outcome_file(launcher.folder, *launcher.tasks[f"{number:032x}"]).open("a") as stream:
        stream.write(json.dumps({"run_id": f"{number:032x}", **ended}) + "\n")


def test_each_array_is_canceled_by_a_call_of_its_own(launched: Launched, tmp_path: Path) -> None:
    launcher, said = launched(0)
    launcher.start(order_of(tmp_path, 1))
    launcher._submit()
    launcher.stop(0.0)
    assert len(arrays(tmp_path)) == 2
    assert sorted((tmp_path / "scancel.txt").read_text().split()) == [
        f"--name=ablate-{one}" for one in arrays(tmp_path)
    ]
    assert said[-1] == "slurm: 2 jobs canceled"


def test_jobs_that_a_command_has_canceled_count_as_submitted_no_more(launched: Launched, tmp_path: Path) -> None:
    launcher, _ = launched(0)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    waits, _ = launched(0)
    assert waits.tasks == {f"{0:032x}": (name, 0)}
    launcher.stop(0.0)
    assert slurm_jobs.waiting(tmp_path / "runs", "small") == set()
    again, _ = launched(0)
    assert again.tasks[f"{0:032x}"] != (name, 0), "its task still writes a checkpoint"
    queue_of(tmp_path)
    assert waits.wait(0.0) == []
    assert [ended.how for ended in waits.wait(0.001)] == ["never_began"], "which is tried again"


def test_what_slurm_has_not_taken_does_not_count_as_submitted(launched: Launched, tmp_path: Path) -> None:
    launcher, _ = launched()
    program(tmp_path, "sbatch", "echo 'sbatch: error: Invalid job array specification' >&2; exit 1")
    for number in range(7):
        launcher.start(order_of(tmp_path, number))
    launcher.wait(0.0)
    assert len(slurm_jobs.waiting(tmp_path / "runs", "small")) == 4, "of the first array, which it may have"
    with pytest.raises(InputError, match="Invalid job array specification"):
        launcher.leave()
    assert slurm_jobs.waiting(tmp_path / "runs", "small") == set()


def test_files_of_jobs_that_are_gone_are_removed_but_their_logs(
    launched: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for number in range(3):
        earlier, _ = launched(number)
        names.append(earlier.tasks[f"{number:032x}"][0])
        tell(tmp_path, earlier, number, how="died")
        (earlier.folder / f"{names[-1]}.0.log").touch()
    gone, alive, recent = names
    assert slurm_jobs.cancel(tmp_path / "runs") == 0
    (earlier.folder / f"{gone}{slurm_jobs.CANCEL_MARK}").touch()
    for file in earlier.folder.iterdir():
        if not file.name.startswith(recent):
            os.utime(file, (0, 0))
    queue_of(tmp_path, f"ablate-{alive} 0 RUNNING None")
    with monkeypatch.context() as another_user:
        another_user.setattr(os, "getuid", lambda: -1)
        launched()
    assert len([*earlier.folder.iterdir()]) == 10
    launched()
    left = [file.name for file in earlier.folder.iterdir()]
    assert sorted(left) == sorted([f"{gone}.0.log", *(f"{name}{end}" for name in (alive, recent) for end in ENDS)])


@pytest.mark.parametrize(
    ("about_the_other", "is_canceled"),
    [("", False), ("told", True), ("in the store", True), ("handed over", True)],
)
def test_a_job_that_was_adopted_is_canceled_only_where_it_trains_no_other_run(
    launched: Launched, tmp_path: Path, about_the_other: str, is_canceled: bool
) -> None:
    earlier, _ = launched(0, 1)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    if about_the_other == "told":
        tell(tmp_path, earlier, 1, how="committed", status="completed")
    if about_the_other == "in the store":
        (tmp_path / STORE / "00" / f"{1:032x}").mkdir(parents=True)
    launcher, said = launched(*([0, 1] if about_the_other == "handed over" else [0]), 7)
    assert launcher.tasks[f"{0:032x}"] == (name, 0)
    (own,) = {*arrays(tmp_path)} - {name}
    ended = launcher.stop(0.0)
    assert {(one.run_id, one.how) for one in ended} >= {(f"{number:032x}", "stopped") for number in (0, 7)}
    canceled = [f"--name=ablate-{one}" for one in sorted([own, name] if is_canceled else [own])]
    assert (tmp_path / "scancel.txt").read_text().split() == canceled
    left = "slurm: 1 job not canceled, as other runs are trained there too; see `ablate stop`"
    assert said[1:] == (["slurm: 2 jobs canceled"] if is_canceled else ["slurm: 1 job canceled", left])


def test_jobs_are_canceled_also_where_what_tasks_say_cannot_be_read(
    launched: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, said = launched(0)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")

    def fail() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "_told", fail)
    with pytest.raises(KeyboardInterrupt):
        launcher.stop(1.0)
    assert (tmp_path / "scancel.txt").read_text().splitlines()[-1] == f"--name=ablate-{name}"
    assert said[-1] == "slurm: 1 job canceled"


def test_a_run_that_is_tried_alone_has_a_job_of_its_own(launched: Launched, recorded: Path, tmp_path: Path) -> None:
    launcher = Slurm(runs_per_job=3, gpus=0.25, at_once=8).open(Place(tmp_path / "runs", "small", 1, (), 1, 1, print))
    assert isinstance(launcher, SlurmLauncher) and isinstance(launcher, Isolating)
    for number in range(6):
        (launcher.start_alone if number == 1 else launcher.start)(order_of(tmp_path, number))
    launcher.wait(0.0)
    alone, _ = launcher.tasks[f"{1:032x}"]
    contents = {file.stem: json.loads(file.read_text()) for file in launcher.folder.glob("*.json")}
    assert contents[alone]["runs"] == [f"{1:032x}"]
    assert (contents[alone]["runs_per_job"], contents[alone]["at_once"]) == (1, 1)
    (together,) = contents.keys() - {alone}
    assert (contents[together]["runs_per_job"], contents[together]["at_once"]) == (3, 4)
    indices = [launcher.tasks[f"{number:032x}"] for number in (0, 2, 3, 4, 5)]
    assert indices == [(together, 0), (together, 0), (together, 0), (together, 1), (together, 1)]
    assert re.findall(r"--array=(\S+)", recorded.read_text()) == ["0-0", "0-1%8"]


def test_jobs_that_cannot_be_canceled_are_said(launched: Launched, tmp_path: Path) -> None:
    launcher, said = launched(0)
    program(tmp_path, "scancel", "echo 'scancel: error: Socket timed out' >&2; exit 1")
    launcher.stop(0.0)
    assert said[-1] == "slurm: jobs may go on, as they could not be canceled (Socket timed out); see `ablate stop`"


def test_a_submission_that_slurm_does_not_take_is_tried_again(
    launched: Launched, recorded: Path, tmp_path: Path
) -> None:
    launcher, said = launched()
    program(tmp_path, "sbatch", "echo 'sbatch: error: Socket timed out' >&2; exit 1")
    launcher.start(order_of(tmp_path, 0))
    assert launcher.wait(0.0) == launcher.wait(0.0) == []
    assert said == ["slurm: Socket timed out; tried again every 0 s"]
    program(tmp_path, "sbatch", f'echo "$@" >> {recorded}; echo 8')
    launcher.wait(0.0)
    (name,) = arrays(tmp_path)
    assert f"--job-name=ablate-{name}" in recorded.read_text().splitlines()[-1]
    assert said[-1] == "slurm: 1 run as 1 task of job 8"


def test_a_submission_that_arrived_without_an_answer_is_not_given_twice(launched: Launched, tmp_path: Path) -> None:
    launcher, said = launched()
    program(tmp_path, "sbatch", "echo 'sbatch: error: Socket timed out' >&2; exit 1")
    launcher.start(order_of(tmp_path, 0))
    launcher.wait(0.0)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    launcher.wait(0.0)
    assert launcher.tasks == {f"{0:032x}": (name, 0)}
    assert said[-1] == f"slurm: 1 run as 1 task of job {name}"


def test_where_slurm_does_not_say_which_jobs_there_are_nothing_is_submitted(
    launched: Launched, ablate: Ablate, recorded: Path, tmp_path: Path
) -> None:
    launched(0)
    submissions = recorded.read_text()
    program(tmp_path, "squeue", "exit 1")
    with pytest.raises(InputError, match="Slurm does not answer"):
        launched(0)
    assert recorded.read_text() == submissions
    with pytest.raises(InputError, match="Slurm does not answer"):
        slurm_jobs.cancel(tmp_path / "runs", ["small"])


@pytest.mark.parametrize(
    ("state", "about", "is_adopted"),
    [
        ("RUNNING", "", True),
        ("PENDING", "", True),
        ("COMPLETING", "", False),
        ("RUNNING", "told", False),
        ("RUNNING", "canceled", False),
    ],
)
def test_tasks_are_adopted_that_are_still_going_to_train_a_run(
    launched: Launched, tmp_path: Path, state: str, about: str, is_adopted: bool
) -> None:
    earlier, _ = launched(0, 1)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 {state} None")
    if about == "told":
        tell(tmp_path, earlier, 0, how="committed", status="failed")
    if about == "canceled":
        assert slurm_jobs.cancel(tmp_path / "runs", ["small"]) == 1
    launcher, _ = launched(0)
    assert (launcher.tasks[f"{0:032x}"] == (name, 0)) == is_adopted
    assert (len(arrays(tmp_path)) == 1) == is_adopted


def test_what_an_earlier_task_said_of_a_run_is_not_taken_for_its_end(launched: Launched, tmp_path: Path) -> None:
    earlier, _ = launched(0, 1)
    (name,) = arrays(tmp_path)
    tell(tmp_path, earlier, 0, how="committed", status="failed")
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    launcher, _ = launched(0, 1)
    assert launcher.tasks[f"{1:032x}"] == (name, 0)
    assert launcher._told() == [] and len(launcher.running) == 2
    tell(tmp_path, launcher, 0, how="committed", status="completed")
    (ended,) = launcher._told()
    assert (ended.run_id, ended.status) == (f"{0:032x}", "completed")


def test_runs_of_a_lost_task_are_charged_only_if_they_had_begun(launched: Launched, tmp_path: Path) -> None:
    launcher, said = launched(0, 1)
    attempt = begin(order_of(tmp_path, 0))
    log = "slurmstepd: error: CANCELLED DUE TO TIME LIMIT\ntask 0, restart 1: 2 of 2 runs\n"
    (launcher.folder / f"{arrays(tmp_path)[0]}.0.log").write_text(log)
    (ended,) = launcher.wait(0.001)
    assert (ended.run_id, ended.how, ended.where) == (f"{0:032x}", "stopped", attempt.name)
    what = "its job is gone: slurmstepd: error: CANCELLED DUE TO TIME LIMIT"
    assert ended.reason == f"{what}; its log is in {launcher.folder}"
    launcher.wait(0.0)
    assert said[-1] == "slurm: 1 run as 1 task of job 7", "that whose turn had not come"
    (ended,) = launcher.wait(0.001)
    assert (ended.run_id, ended.how) == (f"{1:032x}", "never_began"), "of whose task no run began"


def test_a_task_that_a_hanging_node_does_not_complete_is_lost(launched: Launched, tmp_path: Path) -> None:
    launcher, _ = launched(0)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    assert launcher.wait(0.001) == []
    queue_of(tmp_path, f"ablate-{name} 0 COMPLETING None")
    assert launcher.wait(0.001) == [], "a network file system may show its end late"
    assert [ended.how for ended in launcher.wait(0.001)] == ["never_began"]


def test_a_command_that_waits_for_jobs_ends_where_they_were_canceled(launched: Launched, tmp_path: Path) -> None:
    launcher, _ = launched(0)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    assert slurm_jobs.cancel(tmp_path / "runs", ["other"]) == 0
    assert slurm_jobs.cancel(tmp_path / "runs", ["small"]) == 1
    queue_of(tmp_path)
    (ended,) = launcher.wait(0.0)
    assert (ended.how, ended.reason, ended.cause) == ("given_up", "canceled by `ablate stop`", CANCELED)


def test_jobs_of_tuning_and_controls_are_canceled_with_their_grid(
    recorded: Path, ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_jobs.time, "sleep", lambda seconds: None)
    program(tmp_path, "scancel", "true")
    other = write_grid(tmp_path / "other", name="small.wide")
    save_plan(plan_of(other), Store(tmp_path / "runs"))
    tuning = plan_of(write_grid(tmp_path))
    config = tuning.grid.config.model_copy(update={"name": "small.tuning"})
    save_plan(replace(tuning, grid=replace(tuning.grid, config=config)), Store(tmp_path / "runs"))
    folders = [tmp_path / "runs" / ".slurm", tmp_path / "runs" / "small" / "controls" / ".slurm"]
    for folder, name, grid in [
        (folders[0], "a", "small.tuning"),
        (folders[0], "b", "small.wide"),
        (folders[1], "c", "small (controls)"),
    ]:
        write_json(folder / f"{name}.json", {"grid": grid, "runs": [], "runs_per_job": 1})
    queue = " ".join(f"'ablate-{name} 0 RUNNING None'" for name in "abc")
    program(tmp_path, "squeue", f'for line in {queue}; do case "$*" in *${{line%% *}}*) echo "$line";; esac; done')
    assert ablate("stop", tmp_path / "small.yaml", "--runs", tmp_path / "runs").out == "2 jobs canceled.\n"


def test_a_folder_that_cannot_be_read_for_a_while_ends_nothing(
    launched: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, said = launched(0)
    tell(tmp_path, launcher, 0, how="committed", status="completed")
    launcher.look_at = 0.0

    def stale(path: Path) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", stale)
        assert launcher._look(launcher._told) == []
    assert said[-1] == f"slurm: {launcher.folder}: cannot be read (Stale file handle); it is tried again"
    assert [ended.status for ended in launcher._look(launcher._told)] == ["completed"]


def test_a_run_whose_end_cannot_be_read_hides_no_other(launched: Launched, tmp_path: Path) -> None:
    launcher, _ = launched(0, 1)
    (run_directory(tmp_path / STORE, f"{0:032x}") / "result.json").mkdir(parents=True)
    attempt = write_files(begin(order_of(tmp_path, 1)))
    assert commit(attempt, "result.json", result()) == "committed"
    ended = {one.run_id: one.how for one in launcher.wait(0.001)}
    assert ended == {f"{0:032x}": "never_began", f"{1:032x}": "committed"}, "its next order keeps the end that is there"


@pytest.mark.parametrize(("cpus", "n_lines"), [(2, 1), (4, 0), (8, 0), (None, 0)])
def test_fewer_cpus_than_a_run_has_threads_are_said_once(
    recorded: Path, tmp_path: Path, cpus: int | None, n_lines: int
) -> None:
    said: list[str] = []
    Slurm(cpus=cpus).open(Place(tmp_path, "small", 1, (), ranks=2, threads=4, say=said.append))
    what = "a run computes with 4 threads (training.threads, in each of training.ranks)"
    assert said == [f"slurm: cpus: 2: {what}; it is slower than with cpus: 4"] * n_lines


@pytest.mark.parametrize(
    ("gpus", "about", "what"),
    [
        (0.0, {"devices": ["cuda"]}, "training.device cuda: runs get no GPU there; set gpus: 1"),
        (0.0, {"gpu_only": ["mixer x"]}, "no training on a CPU: mixer x; set gpus: 1"),
        (1.0, {"ranks": 2}, "training.ranks 2: set gpus: 2, not 1"),
    ],
)
def test_gpus_that_runs_need_and_do_not_get_are_refused(
    recorded: Path, tmp_path: Path, gpus: float, about: dict[str, Any], what: str
) -> None:
    place = Place(**{**vars(Place(tmp_path, "small", 1, (), 1, 1, print)), **about})
    for engine in (Slurm(gpus=gpus), Ray(gpus=gpus)):
        with pytest.raises(InputError, match=re.escape(what)):
            engine.open(place)


def test_runs_without_checkpoints_under_a_time_limit_are_named(recorded: Path, tmp_path: Path) -> None:
    said: list[str] = []
    place = Place(tmp_path, "small", 1, (), 2, 1, said.append)
    for time in ("UNLIMITED", 0):
        Slurm(options={"time": time}).open(place)
    assert said == []
    Slurm(options={"time": "4:00:00"}).open(place)
    what = "one that takes longer than the time limit of 4:00:00 never ends"
    assert said == [f"slurm: runs with training.ranks 2 write no checkpoints; {what}"]


PARTITIONS = ("low*|n/a|4", "quick|0:02:00|1-00:00:00", "long|1-00:00:00|infinite", "free|n/a|infinite")


@pytest.mark.parametrize(
    ("options", "environment", "limit"),
    [
        ({}, {}, "4"),
        ({"partition": "quick"}, {}, "0:02:00"),
        ({"partition": "long,quick"}, {}, "0:02:00"),
        ({"partition": "long"}, {}, None),
        ({"partition": "free"}, {}, None),
        ({}, {"SBATCH_PARTITION": "long"}, None),
        ({}, {"SBATCH_TIMELIMIT": "30"}, None),
        ({"partition": "long"}, {"SBATCH_TIMELIMIT": "3"}, "3"),
        ({"time": 30, "partition": "quick"}, {"SBATCH_TIMELIMIT": "3"}, None),
    ],
)
def test_a_time_limit_that_is_not_named_is_that_of_the_partition(
    recorded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    environment: dict[str, str],
    limit: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lines = [f'case ",$5," in ",,"|*,{line.split("|")[0].strip("*")},*) echo "{line}";; esac' for line in PARTITIONS]
    program(tmp_path, "sinfo", "\n".join(lines))
    place = Place(tmp_path, "small", 1, (), 1, 1, print)
    if limit is None:
        Slurm(options=options).open(place)
    else:
        with pytest.raises(InputError, match=f"a time limit of {limit} is too short"):
            Slurm(options=options).open(place)


def test_a_time_limit_that_slurm_does_not_say_refuses_nothing(recorded: Path, tmp_path: Path) -> None:
    for script in ("exit 1", "echo 'low*|n/a'", "echo 'low*|n/a|n/a'"):
        program(tmp_path, "sinfo", script)
        Slurm().open(Place(tmp_path, "small", 1, (), 1, 1, print))


def test_very_many_arrays_are_asked_for_in_parts(launched: Launched, tmp_path: Path) -> None:
    program(tmp_path, "squeue", f'for word in "$@"; do last=$word; done; echo "$last" >> {tmp_path}/squeue.txt')
    assert slurm_jobs.ask([f"{number:012x}" for number in range(2500)]) == {}
    asked = (tmp_path / "squeue.txt").read_text().split()
    assert [line.count("ablate-") for line in asked] == [1000, 1000, 500]


def test_programs_of_slurm_that_are_missing_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="squeue is not on the path; run this where jobs are submitted"):
        slurm_jobs.tasks_of(["a"])


def test_marks_of_jobs_that_could_not_be_canceled_are_taken_back(launched: Launched, tmp_path: Path) -> None:
    launched(0)
    (name,) = arrays(tmp_path)
    queue_of(tmp_path, f"ablate-{name} 0 RUNNING None")
    program(tmp_path, "scancel", "echo 'scancel: error: Socket timed out' >&2; exit 1")
    with pytest.raises(InputError, match="Slurm does not cancel its jobs: Socket timed out"):
        slurm_jobs.cancel(tmp_path / "runs", ["small"])
    launcher, _ = launched(0)
    assert launcher.tasks == {f"{0:032x}": (name, 0)}


def test_a_submission_that_is_always_refused_ends_the_command(launched: Launched, tmp_path: Path) -> None:
    launcher, said = launched()
    program(tmp_path, "sbatch", "echo 'sbatch: error: Invalid job array specification' >&2; exit 1")
    launcher.start(order_of(tmp_path, 0))
    with pytest.raises(InputError, match="Invalid job array specification"):
        for _ in range(slurm_submission.REFUSALS):
            launcher.wait(0.0)
    launcher.stop(0.0)
    assert [line for line in said if "canceled" in line] == [], "there was none"


def test_nothing_is_submitted_again_while_slurm_is_silent(launched: Launched, recorded: Path, tmp_path: Path) -> None:
    launcher, _ = launched()
    program(tmp_path, "sbatch", "exit 1")
    launcher.start(order_of(tmp_path, 0))
    launcher.wait(0.0)
    submissions = recorded.read_text()
    program(tmp_path, "sbatch", f'echo "$@" >> {recorded}; echo 8')
    program(tmp_path, "squeue", "exit 1")
    launcher.wait(0.0)
    assert recorded.read_text() == submissions and not launcher.tasks
    queue_of(tmp_path)
    launcher.wait(0.0)
    assert launcher.tasks


@pytest.mark.parametrize(
    ("settings", "given", "groups"),
    [
        ({}, "0,1", [""]),
        ({"gpus": 1}, "0,1", ["0", "1"]),
        ({"options": {"gres": "gpu:mi250:1"}}, "", []),
    ],
)
def test_runs_that_asked_for_no_gpu_see_none(
    launched: Launched,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    given: str,
    groups: list[str],
) -> None:
    launcher = Slurm(**settings).open(Place(tmp_path / "runs", "small", 1, (), 1, 1, print))
    launcher.start(order_of(tmp_path, 0))
    launcher.wait(0.0)
    (file,) = (tmp_path / "runs" / ".slurm").glob("*.json")
    write_json(file, {**json.loads(file.read_text()), "runs": []})
    of_task = mock.Mock(running={}, **{"stop.return_value": []})
    monkeypatch.setattr("ablation.launch.local.LocalLauncher", of_task)
    monkeypatch.setattr(slurm_task.signal, "signal", lambda *_: None)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    of_task.return_value = of_task
    slurm_task.main(file)
    assert list(of_task.call_args.args[1]) == groups


def test_gpus_that_options_ask_for_are_not_missed(recorded: Path, tmp_path: Path) -> None:
    place = Place(tmp_path, "small", 1, (), 1, 1, print, devices=["cuda"])
    Slurm(options={"gres": "gpu:a100:1"}).open(place)
    Slurm(options={"gpus-per-node": 1}).open(place)


def test_status_says_how_many_runs_were_submitted(
    launched: Launched, ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = write_grid(tmp_path, seeds=2)
    plan, store = plan_of(grid), Store(tmp_path / "runs")
    save_plan(plan, store)
    launcher, _ = launched()
    for run in plan.runs[:3]:
        launcher.start(store.order(run))
    launcher.leave()
    words = ("status", grid, "--runs", tmp_path / "runs")
    assert ablate(*words).out.splitlines()[0] == "small: 4 runs, 4 missing; 3 submitted to Slurm"
    (name,) = arrays(tmp_path)
    with outcome_file(launcher.folder, name, 0).open("a") as stream:
        stream.write(json.dumps({"run_id": plan.runs[0].id, "how": "stopped"}) + "\n")
    assert ablate(*words, "--json").json["submitted"] == 2
    queue_of(tmp_path, f"ablate-{name} 1 PENDING Priority")
    assert ablate("stop", grid, "--runs", tmp_path / "runs").out == "1 job canceled.\n"
    assert ablate(*words).out.splitlines()[0] == "small: 4 runs, 4 missing"
