"""Slurm as an engine: its settings, what they ask for, and what is refused before anything is submitted."""

import os
import shutil
from math import ceil, inf
from typing import Annotated

from pydantic import Field

from ..errors import InputError
from ..registry import register
from .base import Launcher
from .engine import Engine, Place
from .slurm_jobs import usual_limits
from .slurm_launcher import SlurmLauncher
from .slurm_submission import Request

SHORTEST = 5
"""Minutes: Slurm may warn a minute early, and a task takes seconds to import."""
NO_LIMIT = ("0", "-1", "infinite", "unlimited")
"""How Slurm spells that a job may take as long as its partition allows."""


@register("launcher", "slurm", source="Yoo et al. 2003, SLURM: Simple Linux Utility for Resource Management")
class Slurm(Engine):
    """Job arrays of Slurm, ``runs_per_job`` runs in a task, ``at_once`` tasks at a time.

    A run gets ``cpus``, ``memory`` and ``gpus``; below 1, several runs share one GPU, whose memory is not divided.
    ``setup`` are lines of shell before Python starts, ``options`` go to ``sbatch`` as they are, ``true`` or
    null as one without a value.
    """

    can_detach = True

    def __init__(
        self,
        *,
        cpus: Annotated[int, Field(ge=1)] | None = None,
        memory: str | None = None,
        gpus: Annotated[float, Field(ge=0)] = 0.0,
        runs_per_job: Annotated[int, Field(ge=1)] = 20,
        at_once: Annotated[int, Field(ge=1)] | None = None,
        setup: list[str] = [],  # noqa: B006  pydantic copies it
        options: dict[str, str | int | bool | None] = {},  # noqa: B006
    ):
        self.cpus, self.memory, self.gpus = cpus, memory, gpus
        self.runs_per_job, self.at_once, self.setup = runs_per_job, at_once, setup
        self.options = {name: value for name, value in options.items() if value is not False}

    def open(self, place: Place) -> Launcher:
        if shutil.which("sbatch") is None:
            raise InputError("--launcher slurm: sbatch is not on the path; run it where jobs are submitted")
        self._check_time(place)
        place.check_cpus("slurm", self.cpus)
        by_option = any(name == "gres" or name.startswith("gpus") for name in self.options)
        if not by_option:
            place.check_gpus("slurm", self.gpus)
        request = Request(
            self.arguments(place.threads),
            self.setup,
            self.runs_per_job,
            self.runs_at_once,
            self.at_once,
            self.partition,
            bool(self.gpus) or by_option,
        )
        return SlurmLauncher(request, place)

    @property
    def partition(self) -> str | None:
        """Those that are named, if any are."""
        named = self.options.get("partition", os.environ.get("SBATCH_PARTITION"))
        return None if named is None else str(named)

    @property
    def runs_at_once(self) -> int:
        """In one task: several only where they share a GPU."""
        return int(1 / self.gpus) if 0 < self.gpus < 1 else 1

    def arguments(self, threads: int) -> list[str]:
        """Those of ``sbatch`` that ask for a task's resources."""
        together = self.runs_at_once
        found = [f"--cpus-per-task={(self.cpus or threads) * together}"]
        found += [f"--gres=gpu:{ceil(self.gpus)}"] if self.gpus else []
        found += [f"--mem={self.memory}"] if self.memory else []
        return [
            *found,
            *(
                f"--{name}" if value is None or value is True else f"--{name}={value}"
                for name, value in self.options.items()
            ),
        ]

    def _time_limit(self) -> str:
        """That of a task, by what Slurm goes by: the first of these that there is."""
        if (given := self.options.get("time", os.environ.get("SBATCH_TIMELIMIT"))) is not None:
            return str(given)
        return min(usual_limits(self.partition), key=minutes, default="0")

    def _check_time(self, place: Place) -> None:
        limit = self._time_limit()
        if minutes(limit) < SHORTEST:
            what = f"a time limit of {limit} is too short; runs go on in another job, but {SHORTEST} minutes are needed"
            raise InputError(f"--launcher slurm: {what}")
        if place.ranks > 1 and minutes(limit) < inf:
            what = f"runs with training.ranks {place.ranks} write no checkpoints"
            place.say(f"slurm: {what}; one that takes longer than the time limit of {limit} never ends")


def minutes(limit: str) -> float:
    """Of Slurm's forms: minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on."""
    if limit.casefold() in NO_LIMIT:
        return inf
    days, dash, rest = limit.partition("-")
    if not dash:
        days, rest = "0", limit
    parts = [float(part) for part in rest.split(":") if part.replace(".", "").isdigit()]
    if dash:
        hours, minutes, seconds = [*parts, 0.0, 0.0, 0.0][:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0.0, [*parts, 0.0, 0.0][:2]
    return float(days or 0) * 1440 + hours * 60 + minutes + seconds / 60
