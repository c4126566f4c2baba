"""Slurm: on a real one of two nodes the runs are those of this machine, whatever happens to commands and jobs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.launched import numbers, sleepy
from support.slurm import reason_missing, slurm
from support.small_grids import BASE, NORMS, Ablate, eventually, one_line, write_grid

from ablation.errors import InputError
from ablation.launch.choice import engine_of
from ablation.launch.slurm import Slurm, _minutes, submitted
from ablation.launch.slurm_task import Outcomes

ABLATE = (sys.executable, "-c", "import sys; from ablation.cli import main; sys.exit(main())")
missing = reason_missing()
real = pytest.mark.skipif(missing is not None, reason=f"no Slurm: {missing}")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def command(cluster: dict[str, str], tmp_path: Path) -> Command:
    """Runs ``ablate`` with these arguments in a process of its own."""

    def run(*arguments: object, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        words = [*ABLATE, *map(str, arguments), "--runs", str(tmp_path / "runs")]
        return subprocess.run(
            words, env=cluster, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


def launcher(folder: Path, **settings: Any) -> Path:
    file = folder / "launcher.yaml"
    written = {"launcher": "slurm", "cpus": 1, "runs_per_job": 2, "options": {"partition": "low", "time": 30}}
    file.write_text(yaml.safe_dump({**written, **settings}))
    return file


def jobs(cluster: dict[str, str]) -> list[str]:
    answer = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%i %T"], env=cluster, capture_output=True, text=True, check=True
    )
    return answer.stdout.split("\n")[:-1]


@real
@pytest.mark.slow
def test_runs_are_those_of_this_machine(command: Command, tmp_path: Path, ablate: Ablate) -> None:
    grid = write_grid(tmp_path, NORMS, {}, seeds=3)
    done = command("run", grid, "--launcher", launcher(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert "slurm: 6 runs as 3 tasks of job " in done.stderr
    assert json.loads(done.stdout)["completed"] == 6
    (tmp_path / "here").mkdir()
    assert ablate("run", grid, "--runs", tmp_path / "here").code == 0
    assert numbers(tmp_path / "runs") == numbers(tmp_path / "here")
    again = command("run", grid, "--launcher", launcher(tmp_path), "--json")
    assert json.loads(again.stdout)["executed"] == 0


@real
@pytest.mark.slow
def test_jobs_go_on_without_the_command_and_the_next_one_finds_them(
    command: Command, cluster: dict[str, str], tmp_path: Path
) -> None:
    grid, plugin = sleepy(tmp_path, 4.0)
    words = [*ABLATE, "run", str(grid), "--plugin", str(plugin)]
    words += ["--launcher", str(launcher(tmp_path)), "--runs", str(tmp_path / "runs")]
    first = subprocess.Popen(words, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: any(line.endswith("RUNNING") for line in jobs(cluster)))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = jobs(cluster)
    done = command("run", grid, "--plugin", plugin, "--launcher", launcher(tmp_path), "--json")
    assert json.loads(done.stdout)["completed"] == 4, done.stderr
    assert before
    assert "slurm: " not in done.stderr, "nothing was submitted a second time"
    assert len(submitted(tmp_path / "runs" / ".slurm", None)) == 1


@real
@pytest.mark.slow
def test_what_was_left_to_slurm_can_be_seen_and_stopped(
    command: Command, cluster: dict[str, str], tmp_path: Path
) -> None:
    grid, plugin = sleepy(tmp_path, 60.0)
    left = command("run", grid, "--plugin", plugin, "--launcher", launcher(tmp_path), "--detach")
    assert (left.returncode, left.stdout) == (0, "")
    assert "Left to" in left.stderr
    states = lambda: json.loads(command("status", grid, "--plugin", plugin, "--json").stdout)["states"]  # noqa: E731
    eventually(lambda: states().get("running", 0) == 2)
    assert command("stop", grid).stdout == "1 job cancelled.\n"
    eventually(lambda: not jobs(cluster))
    assert "running" not in states()
    assert command("stop", grid).stdout == "No job of this grid is queued or running.\n"


@real
@pytest.mark.slow
def test_preempted_runs_go_on_and_none_is_trained_twice(
    command: Command, cluster: dict[str, str], tmp_path: Path
) -> None:
    grid, plugin = sleepy(tmp_path, 6.0)
    words = [*ABLATE, "run", str(grid), "--plugin", str(plugin), "--json"]
    words += ["--launcher", str(launcher(tmp_path)), "--runs", str(tmp_path / "runs")]
    driver = subprocess.Popen(words, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: len([line for line in jobs(cluster) if line.endswith("RUNNING")]) == 2)
    time.sleep(3.0)
    subprocess.run(["sbatch", "-p", "high", "-n", "2", "--wrap", "sleep 5"], env=cluster, cwd=tmp_path, check=True)
    answer, said = driver.communicate(timeout=240)
    assert json.loads(answer)["completed"] == 4, said
    logs = "".join(file.read_text() for file in (tmp_path / "runs" / ".slurm").glob("*.log"))
    assert "restart 1" in logs
    lines = [json.loads(line)["run_id"] for file in (tmp_path / "runs" / ".slurm").glob("*.jsonl")
             for line in file.read_text().splitlines()]  # fmt: skip
    assert len(lines) == len(set(lines)) == 4


@real
def test_what_no_node_has_is_refused_before_anything_starts(command: Command, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, {}, seeds=1)
    refused = command("run", grid, "--launcher", launcher(tmp_path, cpus=8))
    assert refused.returncode == 2
    assert refused.stderr.startswith("ablate: --launcher slurm: ")
    assert len(refused.stderr.splitlines()) == 1
    assert not list((tmp_path / "runs").glob("store/attempts/*"))


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
