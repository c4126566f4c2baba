"""Engines: where runs are trained, each a member of the slot ``launcher``, which opens a launcher for one command."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..errors import InputError
from ..registry import register
from ..stats.contrast import plural
from .base import Launcher

NO_GPU = ("",)
"""In the place of GPUs: runs see none. Without a list they see all of the node, and all would take the first one."""


@dataclass(frozen=True)
class Place:
    """What a launcher is opened for."""

    root: Path
    """The directory of runs."""
    grid: str
    workers: int
    """Runs at once on this machine, unless the engine says otherwise."""
    gpus: Sequence[str]
    """Of this machine, which the runs may use."""
    ranks: int
    """GPUs that a run uses, where it uses any."""
    threads: int
    """Cores of one run."""
    say: Callable[[str], None]
    """Is called with each line for the user."""
    devices: Collection[str] = ("auto",)
    """What the runs ask for as ``training.device``."""
    gpu_only: Collection[str] = ()
    """The components of the runs that do not train on a CPU, in words."""

    def check_gpus(self, engine: str, gpus: float) -> None:
        """Errors: InputError where runs need more than the ``gpus`` that an engine asks for each."""
        if not gpus and "cuda" in self.devices:
            raise InputError(
                f"--launcher {engine}: training.device cuda: runs get no GPU there; set gpus: {self.ranks}"
            )
        if not gpus and self.gpu_only:
            what = f"no training on a CPU: {', '.join(self.gpu_only)}; set gpus: {self.ranks}"
            raise InputError(f"--launcher {engine}: {what}")
        if 0 < gpus < self.ranks and self.ranks > 1:
            raise InputError(f"--launcher {engine}: training.ranks {self.ranks}: set gpus: {self.ranks}, not {gpus:g}")

    def check_cpus(self, engine: str, cpus: int | None) -> None:
        """Say where a run gets fewer ``cpus`` than it computes with threads: it takes longer, and is the same."""
        if cpus is not None and cpus < self.threads:
            needs = f"a run computes with {self.threads} threads (training.threads, in each of training.ranks)"
            self.say(f"{engine}: cpus: {cpus}: {needs}; it is slower than with cpus: {self.threads}")


class Engine:
    """Base of the engines."""

    can_detach = False
    """Whether runs go on without the command that started them."""

    def open(self, place: Place) -> Launcher:
        """The launcher of one command. Errors: InputError where it cannot train what is asked, before it starts."""
        raise NotImplementedError


@register("launcher", "local", source="multiprocessing's fork server, Python documentation")
class Local(Engine):
    """Processes on this machine, forked from a server that has imported everything; ``workers`` at once."""

    def __init__(self, *, workers: Annotated[int, Field(ge=1)] | None = None):
        self.workers = workers

    def open(self, place: Place) -> Launcher:
        from .local import LocalLauncher, has_mps, in_groups

        for device, is_there in (("cuda", bool(place.gpus)), ("mps", has_mps())):
            if device in place.devices and not is_there:
                raise InputError(f"training.device {device}: this machine has no such device; take auto or cpu")
        if place.gpu_only and not place.gpus and not has_mps():
            raise InputError(f"no training on a CPU, which is all that is here: {', '.join(place.gpu_only)}")
        groups = in_groups(place.gpus, place.ranks)
        if place.gpus and not groups:
            raise InputError(f"training.ranks {place.ranks}: this machine has {plural(len(place.gpus), 'GPU')}")
        return LocalLauncher(self.workers or place.workers, groups)
