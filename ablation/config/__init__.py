"""What an experiment is made of: its configuration, read strictly, and what makes it the same as another."""

from .draft import Draft, assignment_document, dump, load, read_base
from .experiment import ExperimentConfig, rebuild
from .identity import identity, run_id

__all__ = [
    "Draft",
    "ExperimentConfig",
    "assignment_document",
    "dump",
    "identity",
    "load",
    "read_base",
    "rebuild",
    "run_id",
]
