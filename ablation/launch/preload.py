"""Imports what every run needs, once, in the server that the processes of runs are forked from."""

import gc

from ..tasks import metrics as metrics  # imported late elsewhere, since not every command needs it
from ..training import run as run
from . import worker as worker

gc.collect()
gc.freeze()  # so that the garbage collector of a run neither visits all this nor copies its memory by doing so
