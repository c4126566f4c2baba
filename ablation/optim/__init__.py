"""Optimizers and learning rate schedules. Importing this package registers every one in it."""

from ..registry import import_members

import_members(__name__, __path__)
