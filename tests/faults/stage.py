"""What every campaign works on: a grid of runs that mostly sleep, its quiet results, and the one oracle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import yaml
from support.small_grids import PROGRAM, ROOT, mark, processes, write_grid

from ablation.store.same_numbers import have_same_numbers

HERE = Path(__file__).resolve().parent
SLEEPY = '''
import time

from ablation import Schedule, register


@register("schedule", "sleepy")
class Sleepy(Schedule):
    """Constant; each step takes its time, without the processor."""

    def __init__(self, *, seconds: float = 0.05):
        super().__init__(warmup_ratio=0.0)
        self.seconds = seconds

    def factor(self, step: int, n_steps: int) -> float:
        time.sleep(self.seconds)
        return 1.0
'''


@dataclass
class Findings:
    """What the oracle found; all zero where nothing went wrong."""

    lost: int = 0
    twice: int = 0
    different: int = 0
    leftovers: list[str] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.different or self.leftovers or self.lies)

    def add(self, other: "Findings") -> None:
        """What was found in another round."""
        self.lost, self.twice = self.lost + other.lost, self.twice + other.twice
        self.different += other.different
        self.leftovers += other.leftovers
        self.lies += other.lies


class Stage:
    """A grid in a folder of its own, and the command that trains it."""

    def __init__(
        self,
        folder: Path,
        cells: int = 8,
        seeds: int = 5,
        steps: int = 24,
        workers: int = 6,
        settings: Mapping[str, Any] | None = None,
        factors: Mapping[str, Sequence[Any]] | None = None,
        plugin: str | None = SLEEPY,
        n_diverged: int = 0,
    ):
        """``factors`` in place of learning rates; ``plugin``: its text; of each seed ``n_diverged`` runs diverge."""
        self.folder, self.workers = folder, workers
        self.runs, self.quiet_runs = folder / "runs", folder / "quiet"
        factors = factors or {"optimizer.lr": [round(1e-3 * 1.25**index, 6) for index in range(cells)]}
        values = {
            **({} if "schedule" in factors else {"schedule": {"name": "sleepy"}}),
            "training.max_steps": steps,
            "training.evaluate_every": max(1, steps // 3),
            "training.checkpoint_seconds": 0.3,
            "training.monitor_every": 5,
            **(settings or {}),
        }
        self.grid = write_grid(folder, factors, values, name="campaign", seeds=seeds)
        self.plugin = folder / "sleepy.py"
        self.with_plugin = ["--plugin", self.plugin] if plugin else []
        self.plugin.write_text(plugin or "")
        self.events = folder / "events.txt"
        self.variables: dict[str, str] = {}
        """Of the environment of every command."""
        self.n_runs = prod(map(len, factors.values())) * seeds
        self.n_seeds, self.n_diverged = seeds, n_diverged * seeds

    def words(self, *more: str | Path, runs: Path | None = None) -> list[str]:
        words = ["run", self.grid, *self.with_plugin, "--runs", runs or self.runs]
        return [str(word) for word in [*words, "--workers", self.workers, "--json", *more]]

    def environment(self, fault: Mapping[str, Any] | None = None, **more: str) -> dict[str, str]:
        paths = os.pathsep.join([str(HERE / "injected"), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": paths, mark(self.folder): "1", "ABLATION_EVENTS": str(self.events)}
        environment["ABLATION_STAGE"] = str(self.folder)
        if fault is not None:
            environment["ABLATION_FAULT"] = json.dumps(fault)
        return {**environment, **self.variables, **more}

    @contextmanager
    def command(self, *words: str, fault: Mapping[str, Any] | None = None, **options: Any) -> Iterator[Any]:
        """The command in a session of its own; whatever it leaves alive is killed afterwards."""
        environment = self.environment(fault, **options.pop("environment", {}))
        log = (self.folder / "stderr.txt").open("ab")
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
        program = self.folder / "program.py"
        program.write_text(PROGRAM)
        driver = subprocess.Popen(
            [sys.executable, str(program), *(words or self.words())],
            env=environment,
            start_new_session=True,
            cwd=self.folder,
            **{**streams, **options},
        )
        try:
            yield driver
        finally:
            with suppress(ProcessLookupError):
                driver.kill()
            driver.communicate()
            log.close()

    def call(self, *words: str, limit: float = 600.0, **options: Any) -> tuple[int, str]:
        """Exit code and standard output of a command that is left alone."""
        with self.command(*words, **options) as driver:
            output, _ = driver.communicate(timeout=limit)
            return driver.returncode, (output or b"").decode()

    def workers_alive(self) -> list[int]:
        """The processes of runs: those whose parent is the server."""
        return [pid for pid in processes(self.folder) if b"forkserver" in command_line(parent_of(pid))]

    def completed(self) -> int:
        return len(list((self.runs / "store").glob("??/*/result.json")))

    def wait_until(self, what: Any, seconds: float = 300.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            if time.monotonic() > end:
                raise TimeoutError("waited in vain")
            time.sleep(0.02)

    def quiet(self) -> Path:
        """The runs of the same grid, trained without any fault; once."""
        if not (self.quiet_runs / "campaign" / "table.json").exists():
            words = self.words(runs=self.quiet_runs)
            code, output = self.call(*words, environment={"ABLATION_EVENTS": os.devnull})
            if code:
                raise RuntimeError(f"the quiet run ended with {code}: {output}")
        return self.quiet_runs

    def finish(self, commands: int = 3, *more: str) -> list[str]:
        """Give the same command until it says that all is done; returns what was wrong with its answers."""
        for _ in range(commands):
            code, output = self.call(*self.words(*more))
            if code == 0:
                summary = json.loads(output.splitlines()[-1])
                ended = summary["completed"] + self.n_diverged
                whole = ended == summary["planned"] == self.n_runs and summary["diverged"] == self.n_diverged
                return [] if whole else [f"exit 0 with {summary}"]
        return [f"exit {code} after {commands} commands"]

    def conclude(self, lies: Sequence[str] = ()) -> Findings:
        """What the oracle finds once the command has finished its work; ``lies`` were seen before."""
        problems = self.finish()
        found = self.examine()
        found.lies += [*lies, *problems]
        return found

    def examine(self) -> Findings:
        """The oracle: every result once, equal to the quiet one to the bit, nothing left over, no lie in the table."""
        quiet, found = self.quiet(), Findings()
        self.compare(found)
        found.leftovers = [str(path.relative_to(self.runs)) for path in self.left_over()]
        alive = processes(self.folder)
        end = time.monotonic() + 30
        while alive and time.monotonic() < end:
            time.sleep(0.1)
            alive = processes(self.folder)
        found.leftovers += [f"process {pid}: {command_line(pid)!r}" for pid in alive]
        found.lies = self.lies(quiet)
        return found

    def compare(self, found: Findings) -> None:
        """Count the runs that are lost, were finished twice, or have other numbers than the quiet ones."""
        quiet = self.quiet()
        wanted = {path.name: path for path in (quiet / "store").glob("??/*")}
        there = {path.name: path for path in (self.runs / "store").glob("??/*") if (path / "result.json").exists()}
        found.lost = len(wanted.keys() - there.keys())
        found.different = len(there.keys() - wanted.keys())
        for run_id in wanted.keys() & there.keys():
            found.different += not have_same_numbers(wanted[run_id], there[run_id])
        found.twice = sum(n - 1 for n in self.commits().values())

    def commits(self) -> Counter[str]:
        """How often each run got a result by an attempt."""
        return self.counted("result committed")

    def counted(self, event: str) -> Counter[str]:
        """How often it happened to each run."""
        lines = self.events.read_text().split("\n") if self.events.exists() else []
        return Counter(line.partition(".")[0] for line in lines if line.endswith(f" {event}"))

    def left_over(self) -> Iterator[Path]:
        store = self.runs / "store"
        for folder in ("attempts", "orders", "conflicts", "damaged", "replaced"):
            yield from (store / folder).glob("*")
        yield from store.glob("??/*/checkpoint")
        yield from store.glob("??/*/step-*")
        yield from self.runs.rglob("*.tmp")
        if (self.runs / ".holder.json").exists():
            yield self.runs / ".holder.json"

    def lies(self, quiet: Path) -> list[str]:
        """Tables that differ, and what `ablate check` complains about."""
        lies = []
        tables = []
        for runs in (quiet, self.runs):
            code, output = self.call("table", "campaign", "--runs", str(runs), "--format", "json")
            tables.append((code, timeless(json.loads(output)) if code == 0 else output))
        if tables[0] != tables[1]:
            lies.append("the table differs from the quiet one")
        code, output = self.call("check", "--runs", str(self.runs))
        if code:
            lies.append(f"check: {output.strip()[-300:]}")
        return lies


TIMED = ("tokens_per_second", "seconds_to_baseline", "training_seconds")


def timeless(table: Any) -> Any:
    """A table without what depends on the clock."""
    if isinstance(table, dict):
        return {key: timeless(value) for key, value in table.items() if key not in TIMED}
    return [timeless(item) for item in table] if isinstance(table, list) else table


def parent_of(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def command_line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip()
    return b""


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def set_levels(file: Path, **keys: Any) -> None:
    """Change keys of a grid file."""
    grid = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**grid, **keys}, sort_keys=False))
