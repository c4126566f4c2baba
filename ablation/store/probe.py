"""Whether a run can be finished in a directory: whether a rename is a commit there."""

import shutil
import uuid
from pathlib import Path

from ..errors import StorageError
from .files import describe_error, sync, sync_folder


def probe(store: Path) -> None:
    """Make sure that a rename is a commit here: it moves a directory, and refuses a place that holds anything.

    Errors: StorageError, in one line, before anything is trained.
    """
    folder = store / "attempts" / f".probe.{uuid.uuid4().hex[:8]}.tmp"
    first, second, place = folder / "first", folder / "second", folder / "place"
    try:
        for directory in (first, second):
            directory.mkdir(parents=True)
            (directory / "file").write_text(directory.name, encoding="utf-8")
            sync(directory / "file")
            sync_folder(directory)
        first.rename(place)
        refused = False
        try:
            second.rename(place)
        except OSError:
            refused = True
        if (
            not refused
            or [file.name for file in place.iterdir()] != ["file"]
            or (place / "file").read_text(encoding="utf-8") != "first"
        ):
            raise StorageError(
                f"{store}: a directory can be replaced by renaming another one to its name here, so that two processes "
                "could overwrite each other's runs; keep runs on another file system, with --runs"
            )
        sync_folder(store.parent)  # so that the store itself outlasts a power cut
    except OSError as error:
        raise StorageError(
            f"{store}: directories cannot be renamed here ({describe_error(error)}), which finishing a run takes; keep "
            "runs on another file system, with --runs"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
