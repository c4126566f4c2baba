"""One rank of a run other than the first: ``python -m ablation.training.rank ATTEMPT``, as ``ranks`` starts it."""

import sys
import tempfile
from pathlib import Path

from .attempt import train_rank

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        train_rank(Path(sys.argv[1]), Path(scratch))
