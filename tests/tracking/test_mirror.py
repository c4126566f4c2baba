import json
import math
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.mirrored import OFFLINE, ONLINE, Runs, append, conclude, ledger, logged, rows
from support.wandb_stub import KEY, Server

from ablation.tracking import mirror
from ablation.tracking import offline as wandb_reader
from ablation.tracking.mode import DEFAULT_BASE_URL, Mode, resolve_mode
from ablation.tracking.session import SETTINGS, TrackedRun


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the mirror did not get there"
        time.sleep(0.02)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that are given to W&B, which on its side drops those that it has."""
    import wandb

    given: list[int] = []
    log = wandb.Run.log

    def listen(run: wandb.Run, row: dict[str, Any], step: int, commit: bool) -> None:
        given.append(step)
        log(run, row, step=step, commit=commit)

    monkeypatch.setattr(wandb.Run, "log", listen)
    return given


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started."""
    started: list[subprocess.Popen[bytes]] = []

    class Child(subprocess.Popen):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Child)
    return started


# Offline.


def test_offline_run_holds_every_row_and_all_that_describes_run(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(300))
    conclude(run)
    runs.replay(OFFLINE)
    record = runs.record()
    assert logged(record.history) == rows(300)
    assert (record.id, record.name, record.group) == (run.id, run.name, run.group)
    assert (record.job_type, record.tags, record.project) == ("train", ("norms",), "ablation")
    assert record.config["model"] == run.config["model"]
    assert {key: record.config[key] for key in ("factor_block", "factor_n_heads", "seed")} == {
        "factor_block": "post_norm",
        "factor_n_heads": 4,
        "seed": 1,
    }
    assert record.metrics["train/*"] == record.metrics["validation/*"] == "tokens"
    headline = {"final_loss": 2.5, "best_loss": 2.25, "parameters": 1000, "tokens_per_second": 41000.0}
    assert headline.items() <= record.summary.items()
    assert record.summary["status"] == "completed"
    assert "final_accuracy" not in record.summary
    assert record.exit_code == 0
    assert {"project": "ablation", "mode": "offline", "rows": 300, "complete": True}.items() <= ledger(run).items()
    assert (runs.root / "wandb" / ledger(run)["wandb_dir"]).is_dir()
    assert runs.reports == []


def test_number_that_is_not_finite_is_logged_as_nan(runs: Runs) -> None:
    run = runs.add()
    append(run, [*rows(3), {"step": 3, "tokens": 192, "seconds": 1.0, "train/loss": None}])
    conclude(run, status="diverged", reason="loss is not finite at step 3")
    runs.replay(OFFLINE)
    record = runs.record()
    assert math.isnan(record.history[-1]["train/loss"])
    assert record.summary["status"] == "diverged"
    assert record.exit_code == 0


def test_failed_run_has_exit_code_1(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(5))
    conclude(run, "failure.json")
    runs.replay(OFFLINE)
    assert runs.record().exit_code == 1
    assert runs.record().summary["reason"] == "oom: RuntimeError: out of memory"


def test_mirrored_run_is_not_mirrored_again(runs: Runs) -> None:
    for number, name in ((1, "result.json"), (2, "failure.json")):
        append(runs.add(number), rows(5))
        conclude(runs.tracked[-1], name)
    runs.replay(OFFLINE)
    before = {file: file.lstat().st_mtime_ns for file in runs.root.rglob("*")}
    runs.replay(OFFLINE)
    assert {file: file.lstat().st_mtime_ns for file in runs.root.rglob("*")} == before


def test_another_project_gets_its_own_copy(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(5))
    conclude(run)
    runs.replay(OFFLINE, "first")
    wait_until(lambda: time.time() % 1 < 0.5)
    runs.replay(OFFLINE, "second")
    assert sorted(wandb_reader.read(file).project for file in runs.files()) == ["first", "second"]


def test_disabled_mirror_writes_no_file(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(5))
    conclude(run)
    before = sorted(runs.root.rglob("*"))
    assert runs.replay(Mode("disabled")).summary() == "W&B: off"
    assert sorted(runs.root.rglob("*")) == before


def test_run_that_is_followed_while_it_writes_is_complete(runs: Runs) -> None:
    run = runs.add()
    following = runs.mirror(OFFLINE)
    following.start()
    for start in range(0, 60, 20):
        whole = json.dumps(rows(1, start + 19)[0]) + "\n"
        append(run, rows(19, start), tail=whole[:30])
        wait_until(lambda: bool(runs.files()))
        time.sleep(0.15)  # several looks at a torn line
        append(run, [], tail=whole[30:])
    conclude(run)
    following.close()
    following.close()
    assert logged(runs.record().history) == rows(60)
    assert runs.record().exit_code == 0


def test_torn_line_is_skipped_anywhere(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(2), tail='{"step": 2, "tok\n')
    append(run, rows(2, 2), tail='{"step": 4, "tokens": 25')
    conclude(run)
    runs.replay(OFFLINE)
    assert [row["step"] for row in runs.record().history] == [0, 1, 2, 3]


def test_interrupted_run_is_replayed_from_its_first_row(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(20))
    runs.replay(OFFLINE)
    assert runs.record().exit_code == mirror.INTERRUPTED
    assert not (run.directory / "mirror.json").exists()
    append(run, rows(20, 20))
    conclude(run)
    runs.replay(OFFLINE)
    assert logged(runs.record().history) == rows(40)
    assert runs.record().exit_code == 0


def test_run_that_is_trained_again_starts_afresh(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(20))
    following = runs.mirror(OFFLINE)
    following.start()
    wait_until(lambda: bool(runs.files()) and len(runs.record().history) == 20)
    (run.directory / "metrics.jsonl").write_text("")
    append(run, rows(40, 100))
    conclude(run)
    following.close()
    assert logged(runs.record().history) == rows(40, 100)


def test_failed_run_that_is_tried_again_is_mirrored_again(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(20))
    conclude(run, "failure.json")
    following = runs.mirror(OFFLINE)
    following.start()
    wait_until(lambda: bool(runs.files()) and runs.record().exit_code == 1)
    (run.directory / "metrics.jsonl").write_text("")
    (run.directory / "failure.json").unlink()
    append(run, rows(40, 100))
    conclude(run)
    following.close()
    assert logged(runs.record().history) == rows(40, 100)
    assert runs.record().summary["status"] == "completed"
    assert ledger(run)["status"] == "completed"


def test_run_that_failed_again_since_is_mirrored_again(runs: Runs) -> None:
    run = runs.add()
    append(run, rows(5))
    conclude(run, "failure.json")
    runs.replay(OFFLINE)
    append(run, rows(5, 5))
    conclude(run, "failure.json", attempt=2)
    runs.replay(OFFLINE)
    assert logged(runs.record().history) == rows(10)


# What must not happen.


def test_wandb_prints_nothing_and_restores_the_process(
    runs: Runs, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "somebody-elses")
    monkeypatch.setenv("WANDB_SWEEP_ID", "somebody-elses")
    run = runs.add()
    append(run, rows(5))
    conclude(run)
    before = dict(os.environ), sys.exit, sys.excepthook
    runs.replay(OFFLINE)
    assert (dict(os.environ), sys.exit, sys.excepthook) == before
    assert capfd.readouterr() == ("", "")
    assert runs.record().id == run.id


def test_api_key_is_in_no_file(runs: Runs, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DEBUG", "true")
    for number, mode in ((1, ONLINE), (2, OFFLINE)):
        append(runs.add(number), rows(5))
        conclude(runs.tracked[-1])
        runs.replay(mode)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(runs.files("run")) == len(runs.files()) == 1
    assert any(file.name == "debug-internal.log" for file in files)
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


def test_missing_wandb_loses_no_data(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    run = runs.add()
    append(run, rows(5))
    conclude(run)
    summary = runs.replay(OFFLINE).summary()
    assert len(runs.reports) == 1
    assert "wandb" in runs.reports[0]
    assert "1 of 1 runs are left" in summary
    monkeypatch.undo()
    runs.replay(OFFLINE)
    assert len(runs.record().history) == 5


def test_thousand_equal_errors_are_one_line(runs: Runs) -> None:
    for number in range(3):
        append(runs.add(number), rows(5))
        conclude(runs.tracked[-1])
    summary = runs.replay(OFFLINE, "no/such:project").summary()
    assert len(runs.reports) == 1
    assert "\n" not in runs.reports[0]
    assert "3 of 3 runs are left" in summary


def test_importing_the_package_does_not_import_wandb() -> None:
    code = "import sys, ablation.tracking; print([name for name in sys.modules if name.partition('.')[0] == 'wandb'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Online.


def test_online_every_row_arrives_once_also_after_interruption(runs: Runs, server: Server, steps: list[int]) -> None:
    run, other = runs.add(1), runs.add(2)
    append(run, rows(20))
    append(other, rows(5))
    conclude(other)
    runs.replay(ONLINE)
    assert server.runs[run.id].exit_code == mirror.INTERRUPTED
    append(run, rows(20, 20))
    conclude(run)
    steps.clear()
    assert "/me/ablation" in runs.replay(ONLINE).summary()
    assert steps == list(range(20, 40))
    served = server.runs[run.id]
    assert logged(served.history) == rows(40)
    assert logged(server.runs[other.id].history) == rows(5)
    assert served.exit_code == 0
    assert served.summary["final_loss"] == 2.5
    assert (served.fields["groupName"], served.fields["jobType"], served.fields["tags"]) == (
        run.group,
        "train",
        ["norms"],
    )
    assert ledger(run)["mode"] == "online"
    assert runs.reports == []


def test_online_a_run_that_is_trained_again_is_not_sent_twice(runs: Runs, server: Server, steps: list[int]) -> None:
    run = runs.add()
    append(run, rows(20))
    following = runs.mirror(ONLINE)
    following.start()
    wait_until(lambda: bool(runs.files("run")) and len(runs.record("run").history) == 20)
    (run.directory / "metrics.jsonl").write_text("")
    again = [row | {"seconds": row["seconds"] + 0.5} for row in rows(40)]
    append(run, again)
    conclude(run)
    following.close()
    assert steps == list(range(40))
    assert logged(server.runs[run.id].history) == rows(20) + again[20:]


def test_run_that_is_online_gets_no_offline_copy_to_upload(runs: Runs, server: Server) -> None:
    run = runs.add()
    append(run, rows(5))
    conclude(run)
    runs.replay(OFFLINE)
    runs.replay(ONLINE)
    (copy,) = runs.files()
    assert copy.with_suffix(".wandb.synced").exists()
    runs.replay(OFFLINE)
    assert runs.files() == [copy]


def test_rows_that_server_refused_are_sent_by_next_replay(runs: Runs, server: Server) -> None:
    run = runs.add()
    append(run, rows(20))
    conclude(run)
    server.refuse_uploads = True
    assert "1 of 1 runs are left" in runs.replay(ONLINE).summary()
    assert len(runs.reports) == 1
    assert not (run.directory / "mirror.json").exists()
    server.refuse_uploads = False
    runs.replay(ONLINE)
    assert logged(server.runs[run.id].history) == rows(20)


def test_dead_server_makes_the_rest_offline(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    for number in (1, 2):
        append(runs.add(number), rows(5))
        conclude(runs.tracked[-1])
    summary = runs.replay(ONLINE).summary()
    assert len(runs.reports) == 1
    assert [len(wandb_reader.read(file).history) for file in runs.files()] == [5, 5]
    assert runs.files("run") == []
    assert "ablate sync" in summary


def test_server_that_is_lost_on_the_way_costs_only_its_open_runs(
    runs: Runs, server: Server, children: list[subprocess.Popen[bytes]]
) -> None:
    run, running, other = (runs.add(number) for number in (1, 2, 3))
    append(run, rows(5))
    append(running, rows(5))
    following = runs.mirror(ONLINE)
    following.start()
    wait_until(lambda: sum(len(wandb_reader.read(file).history) for file in runs.files("run")) == 10)
    server.dead = True
    append(run, rows(5, 5))
    append(other, rows(5))
    conclude(run)
    conclude(other)
    following.close()
    assert "2 of 3 runs are left" in following.summary()
    assert len(runs.reports) == 1
    assert runs.record().id == other.id
    assert children
    assert not [child.args for child in children if child.poll() is None]
    server.dead = False
    runs.replay(ONLINE)
    assert logged(server.runs[run.id].history) == rows(10)


def test_commands_of_the_summary_work(runs: Runs, server: Server) -> None:
    run = runs.add()
    append(run, rows(20))
    conclude(run)
    summary = runs.replay(OFFLINE).summary()
    view, upload = (shlex.split(part) for part in summary.split("`")[1::2])
    assert view[:2] == ["wandb", "leet"]
    assert upload == ["ablate", "sync", "GRID"]
    runs.replay(ONLINE)  # as it does
    assert logged(server.runs[run.id].history) == rows(20)


# The mode.


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as open_socket:
        yield f"127.0.0.1:{open_socket.getsockname()[1]}"


def test_explicit_mode_is_used() -> None:
    for mode in ("online", "offline", "disabled"):
        assert resolve_mode(mode, {"WANDB_MODE": "disabled"}) == Mode(mode)
    with pytest.raises(ValueError, match="onlin"):
        resolve_mode("onlin", {})


def test_auto_follows_the_environment() -> None:
    assert resolve_mode("auto", {"WANDB_MODE": "online"}) == Mode("online")
    assert resolve_mode("auto", {"WANDB_MODE": "disabled"}).mode == "disabled"
    odd = resolve_mode("auto", {"WANDB_MODE": "sideways", "WANDB_API_KEY": KEY})
    assert odd.mode == "offline"
    assert "sideways" in (odd.reason or "")


def test_auto_without_a_key_is_offline(tmp_path: Path, listening: str) -> None:
    mode = resolve_mode("auto", {"HOME": str(tmp_path), "WANDB_BASE_URL": f"http://{listening}"})
    assert mode.mode == "offline"
    assert "key" in (mode.reason or "")


def test_auto_with_a_key_and_a_server_is_online(tmp_path: Path, listening: str) -> None:
    environment = {"HOME": str(tmp_path), "WANDB_BASE_URL": f"http://{listening}"}
    assert resolve_mode("auto", environment | {"WANDB_API_KEY": KEY}) == Mode("online")
    (tmp_path / ".netrc").write_text(f"machine elsewhere login user password {KEY}\n")
    assert resolve_mode("auto", environment).mode == "offline"
    (tmp_path / "keys").write_text(f"machine {listening} login user password {KEY}\n")
    assert resolve_mode("auto", environment | {"NETRC": str(tmp_path / "keys")}) == Mode("online")


def test_auto_uses_the_server_saved_by_wandb_login(tmp_path: Path, listening: str) -> None:
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    (tmp_path / ".config" / "wandb" / "settings").write_text(f"[default]\nbase_url = http://{listening}\n")
    assert resolve_mode("auto", {"HOME": str(tmp_path), "WANDB_API_KEY": KEY}) == Mode("online")


def test_auto_goes_through_the_proxy(tmp_path: Path, listening: str) -> None:
    environment = {"HOME": str(tmp_path), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": "https://nowhere.invalid"}
    assert resolve_mode("auto", environment | {"HTTPS_PROXY": f"http://{listening}"}) == Mode("online")


def test_auto_with_a_dead_server_is_offline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    environment = {"HOME": str(tmp_path), "WANDB_API_KEY": KEY, "WANDB_BASE_URL": f"http://127.0.0.1:{port}"}
    mode = resolve_mode("auto", environment)
    assert mode.mode == "offline"
    assert f"127.0.0.1:{port}" in (mode.reason or "")


def test_default_server_is_that_of_wandb() -> None:
    import wandb

    assert wandb.Settings().base_url == DEFAULT_BASE_URL
    assert SETTINGS.keys() <= wandb.Settings.model_fields.keys()


def in_another_grid(runs: Runs, first: TrackedRun) -> None:
    """The run as a second grid has it, whose factor is another one."""
    runs.tracked = [
        replace(
            first,
            tags=("heads", "paper"),
            group="heads: n_heads=4",
            factors={"n_heads": 4},
            grid="heads",
            cell="n_heads=4",
        )
    ]


def keys_of(config: Mapping[str, Any]) -> set[str]:
    return {name for name in config if name.startswith(("factor_", "cell_"))}


BOTH = {"factor_block", "factor_n_heads", "cell_heads", "cell_norms_2"}


def first_of_two(runs: Runs) -> TrackedRun:
    first = replace(runs.add(), grid="norms-2", cell="block=post_norm", factors={"block": "post_norm"})
    runs.tracked = [first]
    append(first, rows(10))
    conclude(first)
    return first


def test_run_of_two_grids_has_the_tags_and_keys_of_both(runs: Runs) -> None:
    first = first_of_two(runs)
    runs.replay(OFFLINE)
    in_another_grid(runs, first)
    runs.replay(OFFLINE)
    record = runs.record()  # one copy, since two of one id would replace each other
    assert set(record.tags) == {"norms", "heads", "paper"}
    assert keys_of(record.config) == BOTH
    assert logged(record.history) == rows(10)
    before = runs.files()[0].stat().st_mtime_ns
    runs.replay(OFFLINE)
    assert runs.files()[0].stat().st_mtime_ns == before, "nothing is mirrored again"


def test_online_run_of_two_grids_gets_its_tags_and_no_row_twice(runs: Runs, server: Server, steps: list[int]) -> None:
    first = first_of_two(runs)
    runs.replay(ONLINE)
    steps.clear()
    in_another_grid(runs, first)
    runs.replay(ONLINE)
    served = server.runs[first.id]
    assert set(served.fields["tags"]) == {"norms", "heads", "paper"}
    assert keys_of(json.loads(served.fields["config"])) >= BOTH
    assert logged(served.history) == rows(10)
    assert steps == []
    assert runs.reports == []
