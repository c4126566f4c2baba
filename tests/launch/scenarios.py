"""What has to hold of every launcher: `python tests/launch/scenarios.py [NAME ...] [--launchers ...] [--write FILE]`.

Each scenario trains a grid on a real cluster of this machine, while something happens to it, and compares what comes
out with runs that nothing happened to: each run is there once and equal to the bit, and nothing is left over.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import mounts, ray, slurm
from support.clusters import ABLATE, Cluster, kill, local_cluster
from support.launched import numbers, sleepy
from support.slurm import SlurmCluster
from support.small_grids import eventually

LIMIT = 300
"""Seconds for a command."""
BY_STAT = f"""
import ablation.store.listing as listing
at = listing.run_directory
listing.listed = lambda store, ids: {{run_id: at(store, run_id) for run_id in ids if at(store, run_id).exists()}}
{ABLATE}
"""
"""The program with each listing replaced by a question for one path."""


FAILED, VERSION = "FAILED", "version"


class NotShownError(Exception):
    """Runs came out as they should, but what was to happen to them did not."""


class SkippedError(Exception):
    """A scenario cannot be tried here, for the reason given."""


@dataclass
class Study:
    """A grid of four runs in a folder of its own, each of which takes some seconds without working."""

    cluster: Cluster
    folder: Path
    seconds: float = 6.0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runs = self.folder / "runs"
        self.grid, self.plugin = sleepy(self.folder, self.seconds)
        self.seen = set[str]()
        """The names of all attempts that were seen."""

    def words(self, *more: object, program: str = ABLATE, **settings: Any) -> list[str]:
        """The command that trains it."""
        launcher = self.cluster.launcher_file(self.folder, **settings)
        words = ("run", self.grid, "--plugin", self.plugin, "--launcher", launcher, "--json", *more)
        return self.cluster.words(*words, runs=self.runs, program=program)

    def start(self) -> subprocess.Popen[str]:
        return self.cluster.start(self.words())

    def call(self, words: Sequence[str] | None = None) -> tuple[int, str, str]:
        """Exit code, standard output and error of a command that is left alone."""
        process = self.cluster.start(words or self.words())
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err

    def attempts(self, step: int = 2) -> list[dict[str, Any]]:
        """The attempts at work that have written a checkpoint at a step or later."""
        found = []
        for file in self.runs.glob("store/attempts/*/attempt.json"):
            steps = [int(one.stem[5:]) for one in (file.parent / "checkpoint").glob("step-*.json")]
            if max(steps, default=0) >= step:
                found.append(json.loads(file.read_text()))
        return found

    def wait_for_checkpoints(self, n_runs: int = 2) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = eventually(lambda: len(all_ := self.attempts()) >= n_runs and all_, LIMIT)
        return found

    def conclude(self, process: subprocess.Popen[str] | None = None) -> dict[str, Any]:
        """See the command to its end, and check all that it leaves; returns what it says."""
        process = process or self.start()
        end = time.monotonic() + LIMIT
        while process.poll() is None and time.monotonic() < end:
            self.seen |= {path.name for path in self.runs.glob("store/attempts/[!.]*.*")}  # without the probe's folder
            time.sleep(0.1)
        out, err = process.communicate(timeout=1)
        assert process.returncode == 0, f"exit code {process.returncode}: {err.strip().splitlines()[-1:]}"
        *noise, last = out.splitlines()
        assert not noise, f"standard output has more than the answer: {noise}"
        answer: dict[str, Any] = json.loads(last)
        assert answer["completed"] == answer["planned"] == 4, answer
        assert by_weights(self.runs) == quiet(), "the numbers are not those of quiet runs"
        left = [*self.runs.glob("store/conflicts/*"), *self.runs.glob("store/orders/*")]
        assert not left, f"left over: {left}"
        return answer

    def has_resumed(self) -> bool:
        """Whether a run has gone on from a checkpoint."""
        results = [json.loads(file.read_text()) for file in self.runs.glob("store/??/*/result.json")]
        return any(result["record"].get("resumed_at") for result in results)


def by_weights(runs: Path) -> list[Any]:
    """What is the same wherever runs are trained; how long they sleep is in their ids, and in none of this."""
    return sorted(numbers(runs).values(), key=lambda of_run: of_run[1])


@cache
def quiet() -> list[Any]:
    """The numbers of the same grid, trained here by a command that nothing happens to."""
    with tempfile.TemporaryDirectory(prefix="ablation-quiet-") as folder:
        study = Study(Cluster(Path(folder)), Path(folder), seconds=0.01)
        code, _, err = study.call()
        assert code == 0, err
        return by_weights(study.runs)


def equal(cluster: Cluster, folder: Path) -> None:
    """Results, rows and weights are those of quiet local runs to the bit; the same command then trains nothing."""
    study = Study(cluster, folder, seconds=0.01)
    assert study.conclude()["executed"] == 4
    assert len(study.seen) <= 4, f"{len(study.seen)} attempts"
    assert study.conclude()["executed"] == 0


def worker_killed(cluster: Cluster, folder: Path) -> None:
    """SIGKILL to the process of a run: it is trained again."""
    study = Study(cluster, folder)
    process = study.start()
    kill(study.wait_for_checkpoints()[0]["process"])
    study.conclude(process)
    assert len(study.seen) == 5, f"{len(study.seen)} attempts"


def node_killed(cluster: Cluster, folder: Path) -> None:
    """A node ends with all that it runs: its runs are trained on the others, and it may come back."""
    study = Study(cluster, folder)
    process = study.start()
    study.wait_for_checkpoints()
    cluster.lose_node()
    study.conclude(process)
    assert len(study.seen) > 4, "no run was trained again"


def command_killed(cluster: Cluster, folder: Path) -> None:
    """SIGKILL to the command: given again, it goes on, and trains nothing twice."""
    study = Study(cluster, folder)
    process = study.start()
    study.wait_for_checkpoints()
    process.kill()
    process.communicate()
    study.conclude()


def never_began(cluster: Cluster, folder: Path) -> None:
    """The server of runs dies twice before it can fork one: no run is charged for that, and all are trained."""
    study = Study(cluster, folder, seconds=0.01)
    process, killed = study.start(), set[int]()
    while process.poll() is None:
        if len(killed) < 2:
            for server in set(cluster.servers()) - killed:
                kill(server)
                killed.add(server)
        time.sleep(0.02)
    study.conclude(process)
    assert len(killed) >= 2, "no server was killed"
    assert not [*study.runs.glob("store/??/*/failure.json")]


def preempted(cluster: Cluster, folder: Path) -> None:
    """A run's place is taken away: it writes a checkpoint, and goes on from it."""
    study = Study(cluster, folder, seconds=16.0)
    process = study.start()
    cluster.preempt(study.wait_for_checkpoints()[0])
    study.conclude(process)
    assert study.has_resumed(), "no run went on from a checkpoint"


def partition(cluster: Cluster, folder: Path) -> None:
    """A node answers no more while its runs go on: they are trained elsewhere as well, and each becomes a run once."""
    study = Study(cluster, folder, seconds=40.0)
    process = cluster.start(study.words(**cluster.uneven))
    study.wait_for_checkpoints(cluster.at_once)
    cluster.silence_node()
    study.conclude(process)
    if len(study.seen) <= 4:
        raise NotShownError("its runs ended before the node was given up; each is there once, equal to the bit")


def stopped(cluster: Cluster, folder: Path) -> None:
    """Ctrl-C: exit code 4, nothing goes on, and the same command goes on from checkpoints."""
    study = Study(cluster, folder, seconds=8.0)
    process = study.start()
    study.wait_for_checkpoints()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 4, f"exit code {process.returncode}"
    for attempt in study.attempts(0):
        eventually(lambda pid=attempt["process"]: not Path(f"/proc/{pid}").exists(), 30)  # type: ignore[misc]
    study.conclude()
    assert study.has_resumed(), "no run went on from a checkpoint"


def stopped_in_two_arrays(cluster: Cluster, folder: Path) -> None:
    """Ctrl-C after a run was tried again, so that jobs of two arrays are there: both are canceled."""
    assert isinstance(cluster, SlurmCluster)
    study = Study(cluster, folder, seconds=16.0)
    process = study.start()
    kill(study.wait_for_checkpoints()[0]["process"])
    eventually(lambda: len([*study.runs.glob(".slurm/*.json")]) == 2, LIMIT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 4, f"exit code {process.returncode}"
    assert "slurm: 2 jobs canceled" in err, err
    eventually(lambda: not cluster.jobs(), 30)
    study.conclude()


def canceled_while_waited_for(cluster: Cluster, folder: Path) -> None:
    """`ablate stop` while a command waits: it submits nothing anew, and says which runs are missing."""
    assert isinstance(cluster, SlurmCluster)
    study = Study(cluster, folder, seconds=16.0)
    process = study.start()
    study.wait_for_checkpoints()
    assert study.call(cluster.words("stop", study.grid, runs=study.runs))[1] == "1 job canceled.\n"
    out, err = process.communicate(timeout=60)
    assert json.loads(out)["missing"] == 4, err
    assert "canceled by `ablate stop`" in err
    assert not cluster.jobs() and len([*study.runs.glob(".slurm/*.json")]) == 1
    study.conclude()


def adopted(cluster: Cluster, folder: Path) -> None:
    """The command is killed while its jobs are queued and running: the next one waits for them and submits nothing."""
    assert isinstance(cluster, SlurmCluster)
    study = Study(cluster, folder)
    process = study.start()
    eventually(lambda: cluster.jobs("RUNNING"))
    process.kill()
    process.communicate()
    before = cluster.jobs()
    study.conclude()
    assert before
    assert len(study.seen) == 4, f"{len(study.seen)} attempts"
    assert len([*study.runs.glob(".slurm/*.json")]) == 1, "something was submitted a second time"


def detached(cluster: Cluster, folder: Path) -> None:
    """`--detach` leaves, `ablate status` sees the runs, `ablate stop` ends them."""
    assert isinstance(cluster, SlurmCluster)
    study = Study(cluster, folder, seconds=60.0)
    code, _, err = study.call(study.words("--detach"))
    assert (code, "Left to" in err, "slurm: 4 runs as 2 tasks of job " in err) == (0, True, True), err
    status = cluster.words("status", study.grid, "--plugin", study.plugin, "--json", runs=study.runs)
    states = lambda: json.loads(study.call(status)[1])["states"]  # noqa: E731
    assert json.loads(study.call(status)[1])["submitted"] >= 2
    eventually(lambda: states().get("running", 0) == 2)
    stop = cluster.words("stop", study.grid, runs=study.runs)
    assert study.call(stop)[1] == "1 job canceled.\n"
    eventually(lambda: not cluster.jobs())
    assert "running" not in states()
    assert study.call(stop)[1] == "No job of this grid is queued or running.\n"


def plugin_travels(cluster: Cluster, folder: Path) -> None:
    """The file of a component is gone once the command has begun: runs load the copy beside them."""
    study = Study(cluster, folder)
    process = study.start()
    eventually(lambda: [*study.runs.glob("store/attempts/*/attempt.json")], LIMIT)
    content = study.plugin.read_bytes()
    study.plugin.unlink()
    try:
        study.conclude(process)
    finally:
        study.plugin.write_bytes(content)


def too_large(cluster: Cluster, folder: Path) -> None:
    """What no node has room for is refused in one line, before anything starts."""
    study = Study(cluster, folder)
    code, _, err = study.call(study.words(cpus=8))
    assert (code, len(err.splitlines())) == (2, 1), err
    assert err.startswith(f"ablate: --launcher {cluster.launcher}: {cluster.refusal}"), err
    assert not [*study.runs.glob("store/attempts/*")]


def caches(cluster: Cluster, folder: Path) -> None:
    """The nodes and the command see the directory of runs through caches of 60 s. Without listings it must fail."""
    assert isinstance(cluster, SlurmCluster)
    if (missing := mounts.reason_missing()) is not None:
        raise SkippedError(missing)
    through_caches(cluster, folder / "listed", ABLATE)
    try:
        through_caches(cluster, folder / "by-stat", BY_STAT)
    except AssertionError as error:
        print(f"    without listings: {error}", file=sys.stderr)
        return
    raise AssertionError("asking for each path, instead of listing, went as well")


def through_caches(cluster: SlurmCluster, folder: Path, program: str) -> None:
    study = Study(cluster, folder, seconds=2.0)
    study.runs = cluster.shared / folder.name
    words = cluster.on_another_machine(study.words(program=program))
    study.runs = cluster.folder / "real" / folder.name
    study.conclude(cluster.start(words))


SCENARIOS: dict[str, Callable[[Cluster, Path], None]] = {
    "equal": equal,
    "worker killed": worker_killed,
    "node killed": node_killed,
    "command killed": command_killed,
    "never began": never_began,
    "preempted": preempted,
    "partition": partition,
    "stopped": stopped,
    "stopped in two arrays": stopped_in_two_arrays,
    "canceled while waited for": canceled_while_waited_for,
    "adopted": adopted,
    "detached and stopped": detached,
    "plugin travels": plugin_travels,
    "too large": too_large,
    "caches": caches,
}
QUICK = ("equal", "worker killed", "too large")
"""Those that every test run includes."""
LAUNCHERS: dict[str, tuple[Callable[[Path], AbstractContextManager[Cluster]], Callable[[], str | None]]] = {
    "local": (local_cluster, lambda: None),
    "slurm": (slurm.slurm_cluster, slurm.reason_missing),
    "ray": (ray.ray_cluster, ray.reason_missing),
}


@contextmanager
def opened(launcher: str) -> Iterator[Cluster]:
    """A cluster in a folder of its own, whose path is short enough for sockets."""
    with (
        tempfile.TemporaryDirectory(prefix=f"ablation-{launcher}-") as folder,
        LAUNCHERS[launcher][0](Path(folder)) as one,
    ):
        try:
            yield one
        finally:
            one.end_commands()


def conduct(name: str, cluster: Cluster) -> str:
    """What came out of a scenario, and the seconds that it took."""
    if (why := cluster.inapplicable.get(name)) is not None:
        return f"not applicable: {why}"
    started = time.monotonic()
    try:
        SCENARIOS[name](cluster, cluster.folder / name.replace(" ", "-"))
        result = "passed"
    except SkippedError as reason:
        return f"skipped: {reason}"
    except NotShownError as reason:
        result = f"not shown: {reason}"
    except Exception as error:
        traceback.print_exc()
        result = f"{FAILED}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    seconds = time.monotonic() - started
    cluster.restore()
    return f"{result}, {seconds:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--launchers", nargs="+", choices=list(LAUNCHERS), default=list(LAUNCHERS))
    parser.add_argument("--results", type=Path, help="where earlier results are, which these are added to")
    parser.add_argument("--write", type=Path, help="the page for the table")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that daemons end
    columns: dict[str, dict[str, str]] = {}
    if options.results and options.results.exists():
        columns = json.loads(options.results.read_text())
    for launcher in options.launchers:
        column = columns.setdefault(launcher, {})
        for name, result in tried(launcher, options.names or list(SCENARIOS)):
            column[name] = result
            print(f"{launcher}: {name}: {result}", flush=True)
            if options.results:
                options.results.write_text(json.dumps(columns, indent=1))
    if options.write:
        options.write.write_text(page(columns))
    return int(any(result.startswith(FAILED) for column in columns.values() for result in column.values()))


def tried(launcher: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The results of scenarios with one launcher, by their names, and under ``VERSION`` what they were tried with."""
    if (missing := LAUNCHERS[launcher][1]()) is not None:
        yield from ((name, f"skipped: {missing}") for name in names)
        return
    with opened(launcher) as cluster:
        yield VERSION, f"{cluster.version()}, {time.strftime('%Y-%m-%d')}"
        for name in names:
            yield name, conduct(name, cluster)


def page(columns: Mapping[str, Mapping[str, str]]) -> str:
    """The page of docs/, with a table of scenarios and launchers."""
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning"))
    rows = [[name, *(column.get(name, "not tried") for column in columns.values())] for name in (VERSION, *SCENARIOS)]
    return "\n".join(
        [
            "# Launchers: what has to hold of each",
            "",
            "Written by `python tests/launch/scenarios.py --write docs/launchers.md`, which starts a Slurm of two",
            "nodes and a Ray of three on one machine. Each scenario trains four runs while something happens. It has",
            "passed where every run is there once, with results, rows and weights of quiet local runs to the bit.",
            "",
            f"On {platform.system()} with {os.cpu_count()} cores, Python {platform.python_version()}, {packages}.",
            "",
            f"| scenario | {' | '.join(columns)} |",
            "|" + " --- |" * (len(columns) + 1),
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            *(f"- {name}: {(scenario.__doc__ or '').strip()}" for name, scenario in SCENARIOS.items()),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
