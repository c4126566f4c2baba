"""Checkpoints of other packages, read without their code. Importing this package registers all of them."""

from ..registry import import_members

import_members(__name__, __path__)
