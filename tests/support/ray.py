"""A real Ray cluster of three nodes on this machine, for tests of the launcher."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any


def reason_missing() -> str | None:
    """Why no Ray can be started here; None where it can."""
    return None if find_spec("ray") is not None else "the package ray is not installed (there is none for this Python)"


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Three nodes of one CPU each; ``cluster.address`` is what a driver connects to."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()
