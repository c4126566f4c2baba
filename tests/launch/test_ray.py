"""Ray: its settings, and what is refused; `scenarios` has what happens on a real cluster."""

import errno
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from support.ray import reason_missing
from support.small_grids import NORMS, Ablate, one_line, write_grid
from support.stores import result, write_files

from ablation.errors import InputError
from ablation.launch import ray_launcher, ray_task
from ablation.launch.choice import engine_of
from ablation.launch.engine import Place
from ablation.launch.ray import Ray
from ablation.launch.ray_launcher import RayLauncher
from ablation.store.attempts import Ended, Order, begin, commit, remove, run_directory
from ablation.store.files import write_json

missing = reason_missing()
real = pytest.mark.skipif(missing is not None, reason=f"no Ray: {missing}")


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


@pytest.mark.parametrize(("written", "found"), [("4G", 4), ("512M", 0.5), ("1.5T", 1536), ("4", 4), ("0.25", 0.25)])
def test_memory_may_have_a_unit(tmp_path: Path, written: str, found: float) -> None:
    (tmp_path / "launcher.yaml").write_text(f"launcher: ray\nmemory: {written}\n")
    engine = engine_of(str(tmp_path / "launcher.yaml"))
    assert isinstance(engine, Ray) and engine.memory == found


def test_what_a_run_needs_is_counted_in_the_units_of_ray() -> None:
    assert Ray(cpus=2, memory=1.5, gpus=0.25).needs(1) == {"CPU": 2.0, "GPU": 0.25, "memory": 1.5 * 2**30}
    assert Ray().needs(3) == {"CPU": 3.0}


class RayError(Exception):
    """The base of errors of Ray."""


class Cluster(ModuleType):
    """What the launcher asks of the package ray, of a cluster of two hosts on which tasks never return."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=KeyError, OutOfMemoryError=IndexError)

    def __init__(self) -> None:
        super().__init__("ray")
        self.living = {"here", "there"}
        self.ended: Exception | None = None
        """In which all tasks end."""

    def init(self, **options: Any) -> None: ...

    def nodes(self) -> list[dict[str, Any]]:
        hosts = [(host, host in self.living) for host in ("here", "there")]
        resources = {"CPU": 4.0, "GPU": 2.0}
        return [{"NodeManagerHostname": host, "Alive": alive, "Resources": resources} for host, alive in hosts]

    def remote(self, **options: Any) -> Any:
        return lambda train: SimpleNamespace(remote=lambda *order: object())

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0, "memory": 2.0**30}

    def available_resources(self) -> dict[str, float]:
        return {"memory": 2.0**30}

    def wait(self, tasks: list[object], num_returns: int, timeout: float) -> tuple[list[object], list[object]]:
        return ([], tasks) if self.ended is None else (tasks, [])

    def get(self, task: object) -> None:
        assert self.ended is not None
        raise self.ended


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    ray, private, worker = Cluster(), ModuleType("ray._private"), ModuleType("ray._private.worker")
    private.worker = worker  # type: ignore[attr-defined]
    for module in (ray, private, worker):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ray_launcher, "ASK_EVERY", 0.0)
    return ray


def handed_over(folder: Path, say: Callable[[str], None] = print) -> tuple[RayLauncher, Order]:
    """A run that is left to a cluster."""
    place = Place(folder, "grid", workers=1, gpus=(), ranks=1, threads=1, say=say)
    order = Order("ab" * 16, folder / "store" / "orders" / ("ab" * 16))
    order.directory.mkdir(parents=True)
    write_json(order.directory / "run.json", {})
    opened = Ray().open(place)
    assert isinstance(opened, RayLauncher)
    opened.start(order)
    return opened, order


def attempt_on(host: str, order: Order, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(platform, "node", lambda: host)
        return begin(order)


def test_a_run_on_a_host_that_is_out_of_reach_is_given_up_once(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, order = handed_over(tmp_path)
    attempt_on("there", order, monkeypatch)
    assert opened.wait(0.0) == []
    cluster.living = {"here"}
    assert [(ended.how, ended.reason) for ended in opened.wait(0.0)] == [("stopped", "its node is gone or cut off")]
    assert not opened.running
    opened.start(order)  # its attempt has not begun yet, and that of the lost host is still there
    assert opened.wait(0.0) == []
    attempt_on("here", order, monkeypatch)
    assert opened.wait(0.0) == []
    assert [*opened.running] == [order.run_id]


@pytest.mark.parametrize(("given", "groups"), [([], [""]), ([0, 1], ["0,1"])])
def test_a_run_that_asked_for_no_gpu_sees_none(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, given: list[int], groups: list[str]
) -> None:
    monkeypatch.setattr(cluster, "get_gpu_ids", lambda: given, raising=False)
    of_worker = mock.Mock(**{"return_value.wait.return_value": [Ended("ab", "stopped")]})
    monkeypatch.setattr(ray_task, "LocalLauncher", of_worker)
    assert ray_task.train("ab", "store/orders/ab", ranks=2)["how"] == "stopped"
    assert list(of_worker.call_args.args[1]) == groups


def test_attempts_that_cannot_be_listed_for_a_while_end_nothing(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(ray_launcher, "attempts_of", stale)
        patched.setattr(ray_launcher, "all_attempts", stale)
        opened, order = handed_over(tmp_path)
        attempt_on("there", order, monkeypatch)
        cluster.living = {"here"}
        assert opened.wait(0.0) == []
        assert [*opened.running] == [order.run_id]
    assert [ended.how for ended in opened.wait(0.0)] == ["stopped"]


def test_a_run_whose_end_cannot_be_read_is_tried_again(tmp_path: Path, cluster: Cluster) -> None:
    opened, order = handed_over(tmp_path)
    (run_directory(order.store, order.run_id) / "result.json").mkdir(parents=True)
    cluster.ended = cluster.exceptions.RayError()
    assert [(ended.run_id, ended.how) for ended in opened.wait(0.0)] == [(order.run_id, "never_began")]
    assert not opened.running


def test_that_no_node_has_room_any_more_is_said_once(tmp_path: Path, cluster: Cluster) -> None:
    said: list[str] = []
    opened, _ = handed_over(tmp_path, said.append)
    cluster.living = set()
    assert opened.workers == opened.workers == 1, "which begins once there is a node"
    assert opened.wait(0.0) == []
    assert said[1:] == ["ray: no node that is alive has room for a run; waiting for one"]


def test_runs_that_do_not_begin_as_others_hold_the_cluster_are_said_once(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    opened, order = handed_over(tmp_path, said.append)
    opened.wait(0.0)
    assert said[1:] == [], "they have not waited for long"
    monkeypatch.setattr(ray_launcher, "BEGIN_WITHIN", 0.0)
    attempt = attempt_on("here", order, monkeypatch)
    opened.wait(0.0)
    assert said[1:] == [], "it has begun"
    remove(attempt)
    assert opened.wait(0.0) == opened.wait(0.0) == []
    assert said[1:] == ["ray: no run has begun for 0 s; other work may hold the cluster (0 of 8 CPUs free)"]


@pytest.mark.parametrize(("gpus", "several"), [(0.0, False), (0.25, True), (1.0, False), (2.0, False)])
def test_the_launcher_says_whether_several_runs_train_on_one_gpu(
    tmp_path: Path, cluster: Cluster, gpus: float, several: bool
) -> None:
    opened = Ray(gpus=gpus).open(Place(tmp_path, "grid", 1, (), 1, 1, print))
    assert isinstance(opened, RayLauncher) and opened.shares_gpus == several


def test_a_token_that_the_cluster_does_not_accept_is_said_in_one_line(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Any) -> None:
        raise cluster.exceptions.RayError("InvalidAuthToken. Set RAY_AUTH_TOKEN")

    monkeypatch.setattr(cluster, "init", refuse)
    with pytest.raises(InputError, match="--launcher ray: address auto: InvalidAuthToken"):
        handed_over(tmp_path)


def test_fewer_cpus_than_a_run_has_threads_are_said(tmp_path: Path, cluster: Cluster) -> None:
    said: list[str] = []
    Ray(cpus=2).open(Place(tmp_path, "grid", 1, (), ranks=1, threads=4, say=said.append))
    assert said[0].startswith("ray: cpus: 2: a run computes with 4 threads")


def test_a_run_that_was_committed_on_such_a_host_has_ended(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, order = handed_over(tmp_path)
    attempt = write_files(attempt_on("there", order, monkeypatch))
    cluster.living = {"here"}
    assert commit(attempt, "result.json", result()) == "committed"
    assert [ended.how for ended in opened.wait(0.0)] == ["committed"]
    assert not opened.running
