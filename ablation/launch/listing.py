"""Whether a run has come to an end, by a listing: network file systems answer other questions from memory."""

from pathlib import Path

from ..store.attempts import Ended, run_directory
from ..store.results import LEFT_ALONE, read_end


def is_listed(store: Path, run_id: str) -> bool:
    """Whether the directory of a run is there."""
    folder = run_directory(store, run_id).parent
    return folder.is_dir() and any(one.name == run_id for one in folder.iterdir())


def committed(store: Path, run_id: str) -> Ended | None:
    """How a run ended, None where it has no end that is left alone."""
    if not is_listed(store, run_id):
        return None
    end = read_end(run_directory(store, run_id), run_id)
    return Ended(run_id, "committed", end.status, end.reason) if end.status in LEFT_ALONE else None
