"""One rank of a run other than the first: ``python -m ablation.training.rank ATTEMPT``, as ``ranks`` starts it."""

import signal
import sys
import tempfile
from pathlib import Path

from .attempt import train_rank

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first rank stops for all, and ends this one
    with tempfile.TemporaryDirectory() as scratch:
        train_rank(Path(sys.argv[1]), Path(scratch))
