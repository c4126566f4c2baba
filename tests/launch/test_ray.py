"""Ray: on a real cluster of three nodes the runs are those of this machine, whatever happens to workers and nodes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.launched import numbers, sleepy
from support.ray import ray_cluster, reason_missing
from support.small_grids import NORMS, Ablate, eventually, one_line, write_grid

from ablation.launch.ray import Ray

ABLATE = (sys.executable, "-c", "import sys; from ablation.cli import main; sys.exit(main())")
missing = reason_missing()
real = pytest.mark.skipif(missing is not None, reason=f"no Ray: {missing}")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster() as started:
        yield started


@pytest.fixture
def words(cluster: Any, tmp_path: Path) -> Callable[..., list[str]]:
    """The words of ``ablate run`` on the cluster."""

    def run(grid: Path, *more: object, **settings: Any) -> list[str]:
        file = tmp_path / "launcher.yaml"
        file.write_text(yaml.safe_dump({"launcher": "ray", "address": cluster.address, "cpus": 1, **settings}))
        arguments = ("run", grid, *more, "--launcher", file, "--runs", tmp_path / "runs")
        return [*ABLATE, *map(str, arguments)]

    return run


def finished(words: list[str]) -> dict[str, Any]:
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def started(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def n_at_work(runs: Path, n_steps: int = 2) -> int:
    """Attempts that have written a checkpoint."""
    return len(list(runs.glob(f"store/attempts/*/checkpoint/step-*{n_steps}.json")))


@real
def test_runs_are_those_of_this_machine(words: Any, tmp_path: Path, ablate: Ablate) -> None:
    grid = write_grid(tmp_path, NORMS, {}, seeds=3)
    summary = finished(words(grid))
    assert (summary["completed"], summary["executed"]) == (6, 6)
    (tmp_path / "here").mkdir()
    assert ablate("run", grid, "--runs", tmp_path / "here").code == 0
    assert numbers(tmp_path / "runs") == numbers(tmp_path / "here")
    assert finished(words(grid))["executed"] == 0


@real
def test_a_run_that_no_node_has_room_for_is_refused(words: Any, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, {})
    done = subprocess.run(words(grid, cpus=4), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "a run needs 4 CPUs, the largest of 3 nodes has 1" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "runs").glob("store/attempts/*"))


@real
@pytest.mark.slow
def test_runs_of_a_node_that_dies_are_trained_on_the_others(cluster: Any, words: Any, tmp_path: Path) -> None:
    grid, plugin = sleepy(tmp_path, 6.0)
    node = cluster.add_node(num_cpus=1)
    command = started(words(grid, "--plugin", plugin))
    eventually(lambda: n_at_work(tmp_path / "runs") == 4)
    cluster.remove_node(node, allow_graceful=False)
    out, err = command.communicate(timeout=240)
    assert command.returncode == 0, err
    assert len(numbers(tmp_path / "runs")) == 4, out


@real
@pytest.mark.slow
def test_a_killed_process_is_tried_again(words: Any, tmp_path: Path) -> None:
    grid, plugin = sleepy(tmp_path, 6.0)
    command = started(words(grid, "--plugin", plugin))
    eventually(lambda: n_at_work(tmp_path / "runs") >= 2)
    attempt = next(iter((tmp_path / "runs").glob("store/attempts/*/attempt.json")))
    os.kill(json.loads(attempt.read_text())["process"], signal.SIGKILL)
    _, err = command.communicate(timeout=240)
    assert command.returncode == 0, err
    assert len(numbers(tmp_path / "runs")) == 4


@real
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_command_goes_on_where_it_was(words: Any, tmp_path: Path, sent: signal.Signals) -> None:
    grid, plugin = sleepy(tmp_path, 20.0)
    command = started(words(grid, "--plugin", plugin))
    eventually(lambda: n_at_work(tmp_path / "runs") >= 2)
    command.send_signal(sent)
    command.communicate(timeout=60)
    resumed = finished(words(grid, "--plugin", plugin))
    assert (resumed["completed"], len(numbers(tmp_path / "runs"))) == (4, 4)
    results = (json.loads(file.read_text()) for file in (tmp_path / "runs").glob("store/??/*/result.json"))
    assert any(result["record"].get("resumed_at") for result in results)


def test_without_the_package_one_line_says_what_to_install(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    grid = write_grid(tmp_path, NORMS, {})
    assert "pip install 'transformer-ablation[ray]'" in one_line(ablate("run", grid, "--launcher", "ray"))


@real
def test_an_address_where_nothing_answers_is_said_in_one_line(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "launcher.yaml").write_text("launcher: ray\naddress: 127.0.0.1:1\n")
    said = one_line(ablate("run", write_grid(tmp_path, NORMS, {}), "--launcher", tmp_path / "launcher.yaml"))
    assert "--launcher ray: address 127.0.0.1:1: nothing answers there (Connection refused)" in said


def test_what_a_run_needs_is_counted_in_the_units_of_ray() -> None:
    assert Ray(cpus=2, memory=1.5, gpus=0.25).needs(1) == {"CPU": 2.0, "GPU": 0.25, "memory": 1.5 * 2**30}
    assert Ray().needs(3) == {"CPU": 3.0}
