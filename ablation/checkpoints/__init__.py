"""Checkpoints: models trained elsewhere, read without their code. Importing this package registers every system."""

from ..registry import import_members

import_members(__name__, __path__)
