"""Local processes: what ends them, what they import, and which GPU each has."""

import os
import sys
from multiprocessing import forkserver, spawn
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import train
from support.small_grids import Ablate, eventually, one_line, plan_of, write_grid

from ablation.errors import InputError
from ablation.grid.plan import Run
from ablation.launch.engine import Local, Place
from ablation.launch.local import LocalLauncher, available_gpus, in_groups
from ablation.processes import HUGE_PAGES
from ablation.store.attempts import Order
from ablation.store.runs import Store


def has_rows(store: Store, run: Run) -> bool:
    return bool(store.rows(run.id))


def test_a_worker_ends_with_its_lifeline(troubled: Any, tmp_path: Path) -> None:
    plan, store, launcher = troubled("wait"), Store(tmp_path / "runs"), LocalLauncher(1)
    (tmp_path / "wait").touch()
    run = plan.runs[1]
    launcher.start(store.order(run, store.keep_plugins(plan.plugins, plan.name)))
    eventually(lambda: has_rows(store, run))
    launcher.processes[run.id].lifeline.close()
    (ended,) = eventually(lambda: launcher.wait(1.0))
    assert (ended.how, ended.status) == ("died", None)
    assert store.status(run.id) == "stopped"


def test_a_process_does_not_run_the_main_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    original, main = spawn.get_preparation_data, sys.modules["__main__"]
    monkeypatch.setattr(spawn, "get_preparation_data", lambda name: seen.append(original(name)) or seen[-1])
    plan = plan_of(write_grid(tmp_path, settings={"training.max_steps": 1}))
    train(plan, tmp_path / "runs", runs=plan.runs[:1])
    assert seen
    assert not any(key.startswith("init_main") for data in seen for key in data)
    assert sys.modules["__main__"] is main


@pytest.mark.parametrize(
    ("count", "named", "expected"),
    [(0, None, []), (2, None, ["0", "1"]), (2, "5,3", ["5", "3"]), (0, "", []), (1, "GPU-1a,GPU-2b", ["GPU-1a"])],
)
def test_gpus_are_named_as_this_process_sees_them(
    monkeypatch: pytest.MonkeyPatch, count: int, named: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert available_gpus() == expected


def test_runs_with_several_ranks_have_gpus_in_groups_and_need_enough(tmp_path: Path) -> None:
    def place(gpus: list[str], ranks: int) -> Place:
        return Place(tmp_path, "small", 1, gpus, ranks, 1, lambda line: None)

    assert in_groups(["a", "b", "c", "d", "e"], 2) == ["a,b", "c,d"]
    assert Local().open(place([], 4)).free == 1, "on a machine without a GPU ranks are processes"
    with pytest.raises(InputError, match=r"^training.ranks 4: this machine has 2 GPUs$"):
        Local().open(place(["a", "b"], 4))


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_device_that_is_not_there_is_said_before_the_first_run(ablate: Ablate, tmp_path: Path, device: str) -> None:
    grid = write_grid(tmp_path, settings={"training.device": device})
    assert ablate("plan", grid).code == 0, "it may be trained elsewhere"
    refused = one_line(ablate("run", grid))
    assert refused.endswith(f"training.device {device}: this machine has no such device; take auto or cpu")
    assert not list((tmp_path / "runs" / "store").glob("*/*/failure.json"))


FLEX: dict[str, list[Any]] = {"model.mixer": ["attention", {"name": "attention", "backend": "flex"}]}


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU")
def test_component_that_trains_on_a_gpu_only_is_said_before_the_first_run(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, FLEX, {"training.device": "auto"})
    assert ablate("plan", grid).code == 0, "it may be trained elsewhere"
    refused = one_line(ablate("run", grid))
    assert refused == "ablate: no training on a CPU, which is all that is here: attention_backend flex"
    assert not (tmp_path / "runs" / "store").exists()


def test_component_of_one_layer_that_trains_on_a_gpu_only_is_refused_too(ablate: Ablate, tmp_path: Path) -> None:
    of_first = [{"last": 0, "set": {"mixer": {"name": "attention", "backend": "flex"}}}]
    answer = ablate("plan", write_grid(tmp_path, settings={"model.layers": of_first, "training.device": "cpu"}))
    assert (answer.code, "attention_backend flex does not train on a CPU" in one_line(answer)) == (2, True)


def test_component_that_trains_on_a_gpu_only_is_refused_with_a_cpu(ablate: Ablate, tmp_path: Path) -> None:
    answer = ablate("plan", write_grid(tmp_path, FLEX, {"training.device": "cpu"}))
    expected = (
        "model: attention_backend flex does not train on a CPU, and training.device is cpu "
        "(cell mixer=attention(backend=flex))"
    )
    assert (answer.code, one_line(answer).partition(" ")[2].partition(": ")[2]) == (2, expected)


def test_runs_are_distributed_over_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[str | None] = []

    class Recorder:
        def __init__(self, target: Any, args: Any, daemon: bool) -> None:
            given.append(args[1])

        def start(self) -> None: ...
        def close(self) -> None: ...

    launcher = LocalLauncher(4, gpus=["a", "b"])
    monkeypatch.setattr(type(launcher.context), "Process", Recorder)
    monkeypatch.setattr(LocalLauncher, "warm_up", staticmethod(lambda: None))
    for name in "wxyz":
        launcher.start(Order(name, tmp_path))
    assert given == ["a", "b", "a", "b"]
    assert launcher.free == 0
    launcher.processes.pop("w")
    launcher.start(Order("next", tmp_path))
    assert given[-1] == "a", "in the slot that has become free"


def test_a_server_that_was_killed_costs_one_more_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(write_grid(tmp_path, settings={"training.max_steps": 1}))
    original, failures = spawn.get_preparation_data, iter([True, True])

    def fail(name: str) -> Any:
        if next(failures, False):
            raise EOFError("the server is gone")
        return original(name)

    monkeypatch.setattr(spawn, "get_preparation_data", fail)
    summary, _ = train(plan, tmp_path / "runs", workers=1)
    assert summary.statuses == {"completed": 2}


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_runs_have_huge_pages_unless_they_are_switched_off(
    given: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(HUGE_PAGES, raising=False)
    if given is not None:
        monkeypatch.setenv(HUGE_PAGES, given)
    of_server: dict[str, str] = {}
    monkeypatch.setattr(forkserver, "ensure_running", lambda: of_server.update(os.environ))
    LocalLauncher.warm_up()
    assert of_server[HUGE_PAGES] == found
    assert os.environ.get(HUGE_PAGES) == given
