"""The parts of a model that can be exchanged: a module or a folder per slot, its base class first.

Importing this package registers every component in it: a new file needs no other edit.
"""

from ..registry import import_members

import_members(__name__, __path__)
