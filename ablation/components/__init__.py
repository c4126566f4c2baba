"""The parts that can be exchanged: one module or folder per slot, contract first, then its members.

Importing this package imports every module in it, and so fills the slots: a new file needs no other edit.
"""

import importlib
import pkgutil

from ..registry import rebuild_components

for module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(module.name)
rebuild_components()
