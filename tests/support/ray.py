"""A real Ray cluster of three nodes on this machine, for tests of the launcher."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any
from unittest import mock

from . import network
from .clusters import ENDS_WITH_COMMAND, Cluster, kill
from .small_grids import eventually, mark, processes

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 8,
}
"""A node that does not answer counts as dead after some 10 s, so that tests need not wait for a minute."""
HALTED = 45.0
"""Seconds for which a node halts whose link is cut."""


def reason_missing() -> str | None:
    """Why no Ray can be started here; None where it can."""
    return None if find_spec("ray") is not None else "the package ray is not installed (there is none for this Python)"


class RayCluster(Cluster):
    """Three nodes of one core each."""

    launcher = "ray"
    at_once = 3
    refusal = "a run needs 8 CPUs, the largest of 3 nodes has 1"
    inapplicable: Mapping[str, str] = {
        "adopted": ENDS_WITH_COMMAND,
        "detached and stopped": ENDS_WITH_COMMAND,
        "stopped in two arrays": "Ray has no arrays",
        "canceled while waited for": "`ablate stop` is for Slurm",
        "caches": "tried with Slurm: the directory of runs is read by the same code",
    }

    def __init__(self, folder: Path, started: Any, no_network: str | None):
        super().__init__(folder)
        self.started, self.settings, self.no_network = started, {"address": started.address, "cpus": 1}, no_network
        if no_network is not None:
            self.inapplicable = {**self.inapplicable, "partition": f"all nodes are on one network ({no_network})"}
        self.distant: subprocess.Popen[bytes] | None = None
        """The node on a second machine."""
        self.is_cut_off = False

    def version(self) -> str:
        from ray import __version__

        return f"Ray {__version__}"

    def lose_node(self) -> None:
        self.started.remove_node(next(iter(self.started.worker_nodes)), allow_graceful=False)

    def silence_node(self) -> None:
        """What is there halts for a while, so that its runs end when other nodes have long had room for them."""
        network.cut()
        self.is_cut_off = True
        here = network_of(os.getpid())
        there = [pid for pid in processes(self.folder) if network_of(pid) not in (here, None)]
        for pid in there:
            kill(pid, signal.SIGSTOP)
        Timer(HALTED, lambda: [kill(pid, signal.SIGCONT) for pid in there]).start()

    def restore(self) -> None:
        """Two nodes beside the head, one of them on a second machine where there can be one."""
        super().restore()
        here = {} if self.no_network else {"node_ip_address": network.HERE}
        while len(self.started.worker_nodes) < (2 if self.no_network else 1):
            self.started.add_node(num_cpus=1, **here)
        if self.is_cut_off:
            self.end_distant_node()
            network.reconnect()
            eventually(lambda: network.THERE not in self.living_addresses(), 60)
            self.is_cut_off = False
        if not self.no_network and self.distant is None:
            self.distant = self.add_distant_node()

    def end_distant_node(self) -> None:
        if self.distant is not None:
            network.end_programs()
            self.distant.wait()
            self.distant = None

    def add_distant_node(self) -> "subprocess.Popen[bytes]":
        words = ("--address", self.started.address, "--node-ip-address", network.THERE, "--num-cpus", "1", "--block")
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", *words]
        with (self.folder / "distant.log").open("a") as log:
            node = subprocess.Popen(network.on_it(*ray), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(lambda: network.THERE in self.living_addresses() or node.poll() is not None, 60)
        assert node.poll() is None, (self.folder / "distant.log").read_text()[-500:]
        return node

    def living_addresses(self) -> list[str]:
        from ray._raylet import GcsClient

        nodes = GcsClient(address=self.started.address).get_all_node_info().values()
        return [node.node_manager_address for node in nodes if node.state == 0]


def network_of(pid: int) -> Path | None:
    """The network namespace of a process; None once it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").readlink()
    except OSError:
        return None


@contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """All daemons end with the block."""
    from ray.cluster_utils import Cluster as Nodes

    no_network = network.reason_missing()
    head: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE}
    if no_network is None:
        head["node_ip_address"] = network.HERE
    machines = network.second_machine() if no_network is None else nullcontext()
    with machines, mock.patch.dict(os.environ, {mark(folder): "1"}):
        nodes = Nodes(initialize_head=True, head_node_args=head)
        cluster = RayCluster(folder, nodes, no_network)
        try:
            cluster.restore()
            yield cluster
        finally:
            cluster.end_distant_node()
            nodes.shutdown()
