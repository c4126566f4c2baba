"""Tasks: what is learnt and how it is scored; each a registered component.

Importing this package imports every module in it, and so fills the slot: a new file needs no other edit.
"""

import importlib
import pkgutil

for module in pkgutil.iter_modules(__path__, f"{__name__}."):
    if not module.name.endswith(".metrics"):  # it takes a second, and only training needs it
        importlib.import_module(module.name)
