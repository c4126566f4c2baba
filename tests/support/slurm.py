"""A real Slurm of two nodes on this machine, from Debian's packages, without systemd: for tests of the launcher."""

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


@contextmanager
def slurm(here: Path) -> Iterator[dict[str, str]]:
    """The environment in which its commands find it; all daemons end with the block."""
    host = platform.node().partition(".")[0]
    for folder in ("state", "spool/n1", "spool/n2"):
        (here / folder).mkdir(parents=True)
    file = here / "slurm.conf"
    file.write_text(CONF.format(host=host, here=here, port=PORT))
    environment = {**os.environ, "SLURM_CONF": str(file)}
    _start_munge()
    started = [
        ["slurmctld", "-f", str(file)],
        *(["slurmd", "-f", str(file), "-N", node] for node in ("n1", "n2")),
    ]
    try:
        for program, *arguments in started:
            subprocess.run([str(_path(program)), *arguments], check=True, env=environment, capture_output=True)
        end = time.monotonic() + 60
        while "idle" not in _answer(environment, "sinfo", "-h", "-o", "%T"):
            assert time.monotonic() < end, "no node became idle"
            time.sleep(0.25)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], check=False, env=environment, capture_output=True)
        for name in ("n1", "n2", "controller"):
            with suppress(FileNotFoundError, ValueError, ProcessLookupError):
                os.kill(int((here / f"{name}.pid").read_text()), signal.SIGTERM)


def _answer(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True).stdout


def _path(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _start_munge() -> None:
    """The service by which Slurm's programs know each other, unless it runs."""
    if subprocess.run(["munge", "-n"], check=False, capture_output=True).returncode == 0:
        return
    key, run = Path("/etc/munge/munge.key"), Path("/run/munge")
    run.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        key.write_bytes(os.urandom(1024))
    for path in (key.parent, key, run, Path("/var/lib/munge"), Path("/var/log/munge")):
        shutil.chown(path, "munge", "munge")
    key.chmod(0o400)
    run.chmod(0o755)
    subprocess.run(
        ["setpriv", "--reuid", "munge", "--regid", "munge", "--clear-groups", str(_path("munged")), "--force"],
        check=True,
        capture_output=True,
    )
