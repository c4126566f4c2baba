"""A real Slurm of two nodes on this machine, from Debian's packages, without systemd: for tests of the launcher."""

import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from . import mounts
from .clusters import Cluster, kill, of_process, parent_of
from .small_grids import eventually, mark, processes

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel")
PORT = 16817
CONF = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool/%n
SlurmctldPidFile={here}/controller.pid
SlurmdPidFile={here}/%n.pid
SlurmctldLogFile={here}/controller.log
SlurmdLogFile={here}/%n.log
SlurmctldPort={port}
SlurmdTimeout=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=2
SchedulerType=sched/backfill
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=30
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=4000
PartitionName=low Nodes=n[1-2] Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=5 MaxTime=60
PartitionName=high Nodes=n[1-2] PriorityTier=10 PreemptMode=OFF MaxTime=60
"""


def reason_missing() -> str | None:
    """Why no Slurm can be started here; None where it can."""
    if absent := [program for program in PROGRAMS if _path(program) is None]:
        return f"{', '.join(absent)}: not installed (Debian: slurm-wlm, munge)"
    return None if os.geteuid() == 0 else "starting Slurm's daemons needs root"


class SlurmCluster(Cluster):
    """Two nodes of one core each. Where bindfs is installed, each sees the folder ``shared`` by a mount of its own."""

    launcher = "slurm"
    settings: Mapping[str, Any] = {"cpus": 1, "runs_per_job": 2, "options": {"partition": "low", "time": 30}}
    uneven: Mapping[str, Any] = {"runs_per_job": 3}
    inapplicable: Mapping[str, str] = {}

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.conf, self.shared = folder / "slurm.conf", folder / "shared"
        self.environment["SLURM_CONF"] = str(self.conf)
        self.silent: int | None = None
        for name in ("state", "spool/n1", "spool/n2", "real", "shared"):
            (folder / name).mkdir(parents=True)
        host = platform.node().partition(".")[0]
        self.conf.write_text(CONF.format(host=host, here=folder, port=PORT))

    def version(self) -> str:
        return self.ask("sinfo", "--version").strip().replace("slurm-wlm", "Slurm")

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def jobs(self, state: str = "") -> list[str]:
        """The tasks that Slurm knows in this state, or in any."""
        return [line for line in self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines() if line.endswith(state)]

    def on_another_machine(self, words: Sequence[str]) -> list[str]:
        """A command that sees the folder ``shared`` by a mount of its own, as another machine does."""
        return mounts.with_mount(self.folder / "real", self.shared, words)

    def start_daemons(self) -> None:
        """Start those that do not run, and wait until both nodes have nothing to do."""
        if not self._alive("controller"):
            self._start(["slurmctld", "-f", str(self.conf)])
        for node in ("n1", "n2"):
            if not self._alive(node):
                self._start(["slurmd", "-f", str(self.conf), "-N", node], mounted=mounts.reason_missing() is None)
        eventually(lambda: set(self.ask("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, 60)

    def stop_daemons(self) -> None:
        subprocess.run(["scancel", "--user=root"], check=False, env=self.environment, capture_output=True)
        with suppress(AssertionError, subprocess.CalledProcessError):  # where the controller has not come up
            eventually(lambda: not self.jobs(), 20)
        for name in ("n1", "n2", "controller"):
            if self._alive(name):
                kill(self._daemon(name), signal.SIGTERM)
        eventually(lambda: not any(map(self._alive, ("n1", "n2", "controller"))), 30)
        for left in processes(self.folder):  # the mounts
            kill(left)

    def preempt(self, attempt: Mapping[str, Any]) -> None:
        """A job of a partition that goes before takes both nodes."""
        self.ask("sbatch", "-p", "high", "-n", "2", "-D", str(self.folder), "-o", "/dev/null", "--wrap", "sleep 5")

    def lose_node(self) -> None:
        kill(self._daemon("n1"))
        of_jobs = [pid for pid in processes(self.folder) if b"\0SLURMD_NODENAME=n1\0" in of_process(pid, "environ")]
        parents = {parent_of(pid) for pid in of_jobs} - set(of_jobs)
        for pid in [*(pid for pid in parents if b"slurmstepd" in of_process(pid, "cmdline")), *of_jobs]:
            kill(pid)

    def silence_node(self) -> None:
        self.silent = self._daemon("n1")
        kill(self.silent, signal.SIGSTOP)

    def restore(self) -> None:
        super().restore()
        if self.silent is not None:
            kill(self.silent, signal.SIGCONT)
            self.silent = None
        subprocess.run(["scancel", "--user=root"], check=False, env=self.environment, capture_output=True)
        self.start_daemons()

    def _start(self, command: list[str], mounted: bool = False) -> None:
        words = [str(_path(command[0])), *command[1:]]
        words = self.on_another_machine(words) if mounted else words
        subprocess.run(words, check=True, env=self.environment, capture_output=True)

    def _daemon(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def _alive(self, name: str) -> bool:
        try:
            return b"slurm" in of_process(self._daemon(name), "cmdline")
        except (FileNotFoundError, ValueError):
            return False


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """All daemons end with the block."""
    with munge(), mock.patch.dict(os.environ, {mark(folder): "1"}):
        cluster = SlurmCluster(folder)
        try:
            cluster.start_daemons()
            yield cluster
        finally:
            cluster.stop_daemons()


@contextmanager
def munge() -> Iterator[None]:
    """The service by which Slurm's programs know each other, unless it runs already."""
    if subprocess.run(["munge", "-n"], check=False, capture_output=True).returncode == 0:
        yield
        return
    key, run = Path("/etc/munge/munge.key"), Path("/run/munge")
    run.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        key.write_bytes(os.urandom(1024))
    for path in (key.parent, key, run, Path("/var/lib/munge"), Path("/var/log/munge")):
        shutil.chown(path, "munge", "munge")
    key.chmod(0o400)
    run.chmod(0o755)
    as_munge = ["setpriv", "--reuid", "munge", "--regid", "munge", "--clear-groups"]
    subprocess.run([*as_munge, str(_path("munged")), "--force"], check=True, capture_output=True)
    try:
        yield
    finally:
        kill(int((run / "munged.pid").read_text()), signal.SIGTERM)


def _path(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
