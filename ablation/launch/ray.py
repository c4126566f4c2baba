"""Ray as an engine: its settings, and what they ask for."""

from typing import Annotated

from pydantic import Field

from ..registry import register
from .base import Launcher
from .engine import Engine, Place
from .ray_launcher import GIB, RayLauncher


@register("launcher", "ray", source="Moritz et al. 2018, arXiv:1712.05889")
class Ray(Engine):
    """Tasks of a Ray cluster, which `address` names: `auto`, `ray://host:10001`, or `local` for one on this machine.

    A run gets ``cpus``, ``memory`` in GiB and ``gpus``; below 1, several runs share one GPU, whose memory is not
    divided. Every node has to see the directory of runs, and this package, which ``ship_code`` sends to it.
    """

    def __init__(
        self,
        *,
        address: str = "auto",
        cpus: Annotated[int, Field(ge=1)] | None = None,
        memory: Annotated[float, Field(gt=0)] | None = None,
        gpus: Annotated[float, Field(ge=0)] = 0.0,
        at_once: Annotated[int, Field(ge=1)] | None = None,
        ship_code: bool = False,
    ):
        self.address, self.cpus, self.memory, self.gpus = address, cpus, memory, gpus
        self.at_once, self.ship_code = at_once, ship_code

    def open(self, place: Place) -> Launcher:
        place.check_gpus("ray", self.gpus)
        return RayLauncher(self, place)

    def needs(self, threads: int) -> dict[str, float]:
        """The resources of a run, under Ray's names."""
        memory = {"memory": self.memory * GIB} if self.memory else {}
        return {"CPU": float(self.cpus or threads), **({"GPU": self.gpus} if self.gpus else {}), **memory}
