"""A real Ray cluster of three nodes on this machine, for tests of the launcher."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

from .clusters import ENDS_WITH_COMMAND, Cluster, kill
from .small_grids import mark

QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 8,
}
"""A node that does not answer counts as dead after some 10 s, so that tests need not wait for a minute."""


def reason_missing() -> str | None:
    """Why no Ray can be started here; None where it can."""
    return None if find_spec("ray") is not None else "the package ray is not installed (there is none for this Python)"


class RayCluster(Cluster):
    """Three nodes of one core each."""

    launcher = "ray"
    refusal = "a run needs 8 CPUs, the largest of 3 nodes has 1"
    inapplicable: Mapping[str, str] = {
        "adopted": ENDS_WITH_COMMAND,
        "detached and stopped": ENDS_WITH_COMMAND,
        "caches": "tried with Slurm: the directory of runs is read by the same code",
    }

    def __init__(self, folder: Path, started: Any):
        super().__init__(folder)
        self.started, self.settings = started, {"address": started.address, "cpus": 1}
        self.silent: int | None = None

    def version(self) -> str:
        from ray import __version__

        return f"Ray {__version__}"

    def lose_node(self) -> None:
        self.started.remove_node(next(iter(self.started.worker_nodes)), allow_graceful=False)

    def silence_node(self) -> None:
        node = self.started.worker_nodes.pop()  # Ray will not take it back
        self.silent = node.all_processes["raylet"][0].process.pid
        kill(self.silent, signal.SIGSTOP)

    def restore(self) -> None:
        super().restore()
        if self.silent is not None:
            kill(self.silent, signal.SIGKILL)
            self.silent = None
        while len(self.started.worker_nodes) < 2:
            self.started.add_node(num_cpus=1)


@contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """All daemons end with the block."""
    from ray.cluster_utils import Cluster as Nodes

    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": QUICK_TO_NOTICE}
    with mock.patch.dict(os.environ, {mark(folder): "1"}):
        nodes = Nodes(initialize_head=True, head_node_args=head)
        try:
            cluster = RayCluster(folder, nodes)
            cluster.restore()
            yield cluster
        finally:
            nodes.shutdown()
