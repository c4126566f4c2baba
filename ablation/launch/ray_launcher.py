"""Ray: runs as tasks on the workers of a cluster, each of which imports everything once.

Ray's own retries are off: how often a run is tried again is decided here, as for every launcher. What a task returns is
how its run ended; where it returns nothing, as its worker or node is gone, the store of runs says whether there is an
end. Where a node cannot be reached any more, connections to it stay open, and Ray waits for its tasks (in 2.60 for more
than five minutes); where these are, the store says as well. Runs do not outlive the command: Ray ends the workers of a
driver that is gone.
"""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, StorageError
from ..stats.contrast import plural
from ..store.attempts import Ended, Order, all_attempts, attempts_of, host_of
from ..store.listing import committed
from .engine import Place

MISSING = "--launcher ray: needs Ray: pip install 'transformer-ablation[ray]'"
ASK_EVERY = 5.0
"""Seconds between two looks at the nodes."""
BEGIN_WITHIN = 60.0
"""Seconds after which it is said that nothing has begun."""
CONNECT_WITHIN = 10.0
"""Seconds."""
GIB = 2**30
UNITS = {"CPU": ("CPUs", 1), "GPU": ("GPUs", 1), "memory": ("GiB of memory", GIB)}
"""What resources are called here, and in what they are counted, by Ray's names."""


@dataclass(frozen=True)
class Request:
    """What is asked of Ray."""

    address: str
    needs: Mapping[str, float]
    """The resources of a run, under Ray's names."""
    gpus: float
    at_once: int | None
    """Runs at a time."""
    ship_code: bool


class RayLauncher:
    """Hands runs to a cluster of Ray, as many as it has room for."""

    def __init__(self, request: Request, place: Place):
        try:
            import ray
        except ImportError:
            raise InputError(MISSING) from None
        self.ray, self.request, self.place = ray, request, place
        self.needs = request.needs
        self._tasks: dict[Any, Order] = {}
        """By Ray's reference to what a task will return."""
        self._asked, self._room = float("-inf"), 0
        self._lost_hosts = frozenset[str]()
        """On which all nodes are gone, or out of reach."""
        self._looked = float("-inf")
        self._waits_since, self._said = 0.0, set[str]()
        self._earlier = set[Path]()
        """Attempts at runs before they were handed over the last time."""
        self._silence()
        self._connect()
        try:
            self._refuse_too_large()
        except InputError:
            ray.shutdown()
            raise
        n_nodes = plural(len([*self._nodes()]), "node")
        at_once = f", {request.at_once} at once" if request.at_once else ""
        place.say(f"ray: {n_nodes} with room for {plural(sum(map(self._fits, self._nodes())), 'run')}{at_once}")
        from .ray_task import train

        self._train = ray.remote(
            num_cpus=self.needs["CPU"],
            num_gpus=request.gpus,
            memory=int(self.needs.get("memory", 0)) or None,
            max_retries=0,
            max_calls=0,  # with GPUs Ray would end the worker, and its imports, after each task
        )(train)

    @property
    def workers(self) -> int:
        """How many runs the living nodes have room for."""
        self._ask()
        return max(1, min(self._room, self.request.at_once or self._room))

    @property
    def shares_gpus(self) -> bool:
        """Whether several runs train on one GPU."""
        return 0 < self.request.gpus < 1

    @property
    def free(self) -> int:
        return self.workers - len(self._tasks)

    @property
    def running(self) -> Mapping[str, Order]:
        return {order.run_id: order for order in self._tasks.values()}

    def start(self, order: Order) -> None:
        self._earlier |= set(self._attempts(order))
        task = self._train.remote(order.run_id, str(order.directory.absolute()), self.place.ranks)
        if not self._tasks:
            self._waits_since = time.monotonic()
        self._tasks[task] = order

    def wait(self, seconds: float) -> list[Ended]:
        if not self._tasks:
            time.sleep(seconds)
            return []
        ready, _ = self.ray.wait([*self._tasks], num_returns=1, timeout=seconds)
        if ready:
            self._waits_since = time.monotonic()
            ready, _ = self.ray.wait([*self._tasks], num_returns=len(self._tasks), timeout=0)
        self._say_if_none_begins()
        return [*(self._outcome(task, self._tasks.pop(task)) for task in ready), *self._cut_off()]

    def stop(self, patience: float) -> list[Ended]:
        """Cancel the tasks, whose runs write checkpoints first, and leave the cluster."""
        ended: list[Ended] = []
        try:
            if patience:
                for task in self._tasks:
                    self.ray.cancel(task, force=False)
                end = time.monotonic() + patience
                while self._tasks and (left := end - time.monotonic()) > 0:
                    ended += self.wait(left)
            for task, order in self._tasks.items():
                self.ray.cancel(task, force=True)
                ended.append(_committed(order) or Ended(order.run_id, "stopped"))
            self._tasks = {}
        finally:
            self.ray.shutdown()
        return ended

    def _cut_off(self) -> Iterator[Ended]:
        """The runs on hosts that the cluster has given up, and those that have ended there.

        Of a task that had not begun its run there, only Ray can know.
        """
        self._ask()
        if not self._lost_hosts or not self._tasks or time.monotonic() - self._looked <= ASK_EVERY:
            return
        orders = [*self._tasks.items()]
        self._looked = time.monotonic()
        try:
            attempts = all_attempts(orders[0][1].store)
        except OSError:  # as ESTALE of a network file system, which passes
            return
        for task, order in orders:
            there = [attempt for attempt in attempts.get(order.run_id, []) if attempt not in self._earlier]
            is_lost = bool(there) and host_of(there[-1]) in self._lost_hosts
            ended = _committed(order) if is_lost or not there else None
            if ended is not None or is_lost:
                del self._tasks[task]
                self._earlier |= set(there)
                where = there[-1].name if there else ""
                yield ended or Ended(order.run_id, "stopped", reason="its node is gone or cut off", where=where)

    def _ask(self) -> None:
        """Look at the nodes, now and then."""
        if time.monotonic() - self._asked <= ASK_EVERY:
            return
        self._asked, nodes = time.monotonic(), self.ray.nodes()
        self._room = sum(self._fits(node["Resources"]) for node in nodes if node["Alive"])
        living = {node["NodeManagerHostname"] for node in nodes if node["Alive"]}
        self._lost_hosts = frozenset(node["NodeManagerHostname"] for node in nodes) - living
        if not self._room:
            self._say_once("room", "no node that is alive has room for a run; waiting for one")

    def _say_if_none_begins(self) -> None:
        """Where nodes have room, but others use it, Ray has tasks wait for ever, without a word."""
        now, orders = time.monotonic(), [*self._tasks.values()]
        if now - self._waits_since <= BEGIN_WITHIN or not orders or not self._room or "busy" in self._said:
            return
        self._waits_since = now
        with contextlib.suppress(OSError):
            attempts = all_attempts(orders[0].store)
            if not any(set(attempts.get(order.run_id, [])) - self._earlier for order in orders):
                free, whole = self.ray.available_resources(), self.ray.cluster_resources()
                amounts = (
                    f"{free.get(name, 0.0) / unit:.3g} of {whole.get(name, 0.0) / unit:.3g} {label}"
                    for name, (label, unit) in UNITS.items()
                    if name in self.needs
                )
                why = f"other work may hold the cluster ({', '.join(amounts)} free)"
                self._say_once("busy", f"no run has begun for {BEGIN_WITHIN:g} s; {why}")

    def _say_once(self, kind: str, line: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self.place.say(f"ray: {line}")

    def _outcome(self, task: Any, order: Order) -> Ended:
        """What a task returned, or why it returned nothing."""
        errors = self.ray.exceptions
        try:
            return Ended(**self.ray.get(task))
        except errors.RayTaskError as error:  # of our own, before the run began: the node is not set up for it
            return Ended(order.run_id, "never_began", reason=f"on its node: {_last_line(str(error))}")
        except errors.RayError as error:
            if (known := _committed(order)) is not None:
                return known
            there = [each.name for each in self._attempts(order) if each not in self._earlier]
            where, kind = there[-1] if there else "", type(error).__name__
            if isinstance(error, errors.OutOfMemoryError):
                reason = "Ray ended it for lack of memory"
                return Ended(order.run_id, "died", reason=reason, where=where, cause="memory")
            reason = f"its worker or node is gone ({kind})"
            return Ended(order.run_id, "stopped" if there else "never_began", reason=reason, where=where)

    def _attempts(self, order: Order) -> list[Path]:
        """Those at a run, none where they cannot be read."""
        with contextlib.suppress(OSError):
            return attempts_of(order.store, order.run_id)
        return []

    def _connect(self) -> None:
        from importlib.util import find_spec

        package = find_spec(__package__.partition(".")[0])
        assert package is not None and package.origin is not None
        shipped = {"py_modules": [str(Path(package.origin).parent)]} if self.request.ship_code else None
        address = self.request.address
        if (why := unreachable(address)) is not None:  # which Ray would find out in minutes
            raise InputError(f"--launcher ray: address {address}: {why}")
        try:
            self.ray.init(
                address=address,
                runtime_env=shipped,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level="error",
            )
        except (ConnectionError, ValueError, RuntimeError, self.ray.exceptions.RayError) as error:  # the last of tokens
            raise InputError(f"--launcher ray: address {address}: {_last_line(str(error))}") from None

    def _silence(self) -> None:
        """Keep Ray from printing what happens to nodes to standard output, where the answer goes; no option does."""
        from ray._private import worker

        worker._worker_logs_enabled = False

    def _nodes(self) -> Iterator[Mapping[str, float]]:
        """The resources of each living node."""
        for node in self.ray.nodes():
            if node["Alive"]:
                yield node["Resources"]

    def _fits(self, node: Mapping[str, float]) -> int:
        """How many runs a node has room for."""
        return int(min(node.get(name, 0.0) / amount for name, amount in self.needs.items()))

    def _refuse_too_large(self) -> None:
        """Ray would leave a task that no node has room for waiting for ever, without a word."""
        nodes = [*self._nodes()]
        if any(self._fits(node) for node in nodes):
            return
        for name, amount in self.needs.items():
            most, (label, unit) = max((node.get(name, 0.0) for node in nodes), default=0.0), UNITS[name]
            if most < amount:
                what = f"a run needs {amount / unit:g} {label}, the largest of {plural(len(nodes), 'node')} has"
                raise InputError(f"--launcher ray: {what} {most / unit:.3g}")
        raise InputError("--launcher ray: no node has CPUs, GPUs and memory for a run together")


def _committed(order: Order) -> Ended | None:
    """How a run ended; None also where that cannot be read, as its next order keeps an end that is there."""
    with contextlib.suppress(OSError, StorageError):
        return committed(order.store.absolute(), order.run_id)
    return None


def unreachable(address: str) -> str | None:
    """Why nothing answers at ``host:port``; None where something does, and for an address that names no port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_WITHIN):
            return None
    except OSError as error:
        return f"nothing answers there ({error.strerror or error})"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no word of why")
