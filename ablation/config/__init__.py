"""What an experiment is made of: its configuration, read strictly, and what makes it the same as another."""

from .draft import Draft, dump, load, read_assignment, read_base
from .experiment import ExperimentConfig, rebuild
from .identity import identity, run_id

__all__ = [
    "Draft",
    "ExperimentConfig",
    "dump",
    "identity",
    "load",
    "read_assignment",
    "read_base",
    "rebuild",
    "run_id",
]
