"""Clusters as the scenarios see them: where the runs of a command are trained, and what can happen to that place."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from .small_grids import ROOT, mark, processes

ABLATE = "import sys; from ablation.cli import main; sys.exit(main())"
ENDS_WITH_COMMAND = "its runs end with the command"


class Cluster:
    """Processes of this machine. The other clusters say what is different with them."""

    launcher = "local"
    settings: Mapping[str, Any] = {"workers": 2}
    inapplicable: Mapping[str, str] = {
        "node killed": "there is one node",
        "partition": "there is no network between the command and its runs",
        "adopted": ENDS_WITH_COMMAND,
        "stopped in two arrays": "nothing is submitted",
        "canceled while waited for": "nothing is submitted",
        "detached and stopped": ENDS_WITH_COMMAND,
        "too large": "a run has no size on one machine",
        "caches": "one machine sees one state of its files",
    }
    """Why a scenario has no meaning here, by its name."""
    at_once = 2
    """Runs that are at work when every node has one."""
    uneven: Mapping[str, Any] = {}
    """Settings with which one node is done while another still has runs."""
    refusal = ""
    """How it is said that no node has eight cores."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.commands: list[subprocess.Popen[str]] = []
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), mark(folder): "1"}

    def version(self) -> str:
        return f"Python {sys.version.split()[0]}"

    def words(self, *arguments: object, runs: Path, program: str = ABLATE) -> list[str]:
        """A command of ``ablate`` on a directory of runs."""
        return [sys.executable, "-c", program, *map(str, arguments), "--runs", str(runs)]

    def launcher_file(self, folder: Path, **more: Any) -> Path:
        """The file that ``--launcher`` names, with these settings besides."""
        file = folder / "launcher.yaml"
        file.write_text(yaml.safe_dump({"launcher": self.launcher, **self.settings, **more}))
        return file

    def start(self, words: Sequence[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        one = subprocess.Popen(words, env=self.environment, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)
        self.commands.append(one)
        return one

    def servers(self) -> list[int]:
        """The processes that runs are forked from."""
        found = [pid for pid in processes(self.folder) if b"forkserver" in of_process(pid, "cmdline")]
        return [pid for pid in found if parent_of(pid) not in found]

    def preempt(self, attempt: Mapping[str, Any]) -> None:
        """Take its place away from a run, whose attempt.json this is."""
        kill(attempt["process"], signal.SIGTERM)

    def lose_node(self) -> None:
        """End a node with all that runs there, as where its power is cut."""
        raise NotImplementedError

    def silence_node(self) -> None:
        """Have a node answer no more, while its runs go on."""
        raise NotImplementedError

    def restore(self) -> None:
        """Make the cluster what it was before a scenario."""
        self.end_commands()

    def end_commands(self) -> None:
        for one in self.commands:
            one.kill()
            one.communicate()
        self.commands = []


@contextmanager
def local_cluster(folder: Path) -> Iterator[Cluster]:
    yield Cluster(folder)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def parent_of(pid: int) -> int:
    stat = of_process(pid, "stat").rpartition(b")")[2].split()
    return int(stat[1]) if stat else 0


def of_process(pid: int, file: str) -> bytes:
    """What /proc says of a process; nothing once it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_bytes()
    return b""
