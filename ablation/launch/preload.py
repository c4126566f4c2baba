"""Imports what every run needs, once, in the server that the processes of runs are forked from."""

# ruff: noqa: E402  The server has to end with its driver also while it imports, which takes seconds.
from .group import kill_children_with_parent

kill_children_with_parent()

import gc

gc.disable()  # nothing that is imported is garbage: looking for some takes an eighth of the time

from ..store.code import commit, package_source
from ..tasks import metrics as metrics  # imported late elsewhere, since not every command needs it
from ..training import attempt as attempt
from ..training.run import processor
from . import worker as worker

commit(), package_source(), processor()  # asked once, for all runs: files may be others by the time of a checkpoint
gc.enable()
gc.freeze()  # so that the garbage collector of a run neither visits all this nor copies its memory by doing so
