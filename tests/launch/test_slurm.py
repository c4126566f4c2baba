"""Slurm: its settings, and what is refused; `scenarios` has what happens on a real one."""

import os
import re
from pathlib import Path

import pytest
from support.small_grids import BASE, Ablate, one_line, write_grid

from ablation.errors import InputError
from ablation.grid.file import LARGEST_GRID
from ablation.launch.choice import engine_of
from ablation.launch.engine import Place
from ablation.launch.slurm import Slurm, _minutes
from ablation.launch.slurm_task import Outcomes
from ablation.store.attempts import Order


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


def test_several_runs_share_a_gpu() -> None:
    engine = Slurm(gpus=0.25, cpus=2)
    assert engine.runs_at_once == 4
    assert engine.arguments(1) == ["--cpus-per-task=8", "--gres=gpu:1"]


@pytest.mark.parametrize(
    ("limit", "minutes"), [("30", 30), ("4:30", 4.5), ("4:00:00", 240), ("1-2", 1560), ("1-0:10", 1450), ("0:30", 0.5)]
)
def test_time_limits_are_read_as_slurm_does(limit: str, minutes: float) -> None:
    assert _minutes(limit) == minutes


def test_a_line_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file, outcomes = tmp_path / "a.0.jsonl", Outcomes()
    assert list(outcomes.new(file)) == []
    file.write_text('{"run_id": "a", "how": "committed", "status": "completed"}\n{"run_id": "b", ')
    assert [ended.run_id for ended in outcomes.new(file)] == ["a"]
    with file.open("a") as stream:
        stream.write('"how": "died"}\n')
    assert [(ended.run_id, ended.how) for ended in outcomes.new(file)] == [("b", "died")]
    assert list(outcomes.new(file)) == []


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that has the arguments of each sbatch, of programs that take the place of Slurm's."""
    file, programs = tmp_path / "sbatch.txt", tmp_path / "programs"
    programs.mkdir()
    for name, script in {
        "sbatch": f'echo "$@" >> {file}; echo 7',
        "squeue": "true",
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
