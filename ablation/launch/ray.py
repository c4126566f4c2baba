"""Ray as an engine: its settings, and what they ask for."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ..registry import register
from .base import Launcher
from .engine import Engine, Place
from .ray_launcher import GIB, RayLauncher, Request

IN_GIB = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10}


def gib(written: Any) -> Any:
    """How many GiB are meant where a unit is written, as Slurm has it; anything else as it is."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT])", written) if isinstance(written, str) else None
    return float(found[1]) * IN_GIB[found[2]] if found else written


@register("launcher", "ray", source="Moritz et al. 2018, arXiv:1712.05889")
class Ray(Engine):
    """Tasks of a Ray cluster, which `address` names: `auto`, `ray://host:10001`, or `local` for one on this machine.

    A run gets ``cpus``, ``memory`` in GiB, or as ``512M``, and ``gpus``; below 1, several runs share one GPU, whose
    memory is not divided. Every node has to see the directory of runs, and this package, which ``ship_code`` sends to
    it.
    """

    def __init__(
        self,
        *,
        address: str = "auto",
        cpus: Annotated[int, Field(ge=1)] | None = None,
        memory: Annotated[float, BeforeValidator(gib), Field(gt=0)] | None = None,
        gpus: Annotated[float, Field(ge=0)] = 0.0,
        at_once: Annotated[int, Field(ge=1)] | None = None,
        ship_code: bool = False,
    ):
        self.address, self.cpus, self.memory, self.gpus = address, cpus, memory, gpus
        self.at_once, self.ship_code = at_once, ship_code

    def open(self, place: Place) -> Launcher:
        place.check_gpus("ray", self.gpus)
        place.check_cpus("ray", self.cpus)
        request = Request(self.address, self.needs(place.threads), self.gpus, self.at_once, self.ship_code)
        return RayLauncher(request, place)

    def needs(self, threads: int) -> dict[str, float]:
        """The resources of a run, under Ray's names."""
        memory = {"memory": self.memory * GIB} if self.memory else {}
        return {"CPU": float(self.cpus or threads), **({"GPU": self.gpus} if self.gpus else {}), **memory}
