"""What every run needs, imported once, in the server that the processes of runs are forked from."""

import gc

from ..tasks import metrics as metrics  # imported late elsewhere, since not every command needs it
from ..training import run as run
from . import worker as worker

gc.collect()
gc.freeze()  # the collector of a run need not go through all this, nor copy its pages by doing so
