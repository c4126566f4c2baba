"""Whether data still are what a run was planned on: what its tokens and classes mean depends on them."""

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .base import Task


class DataChangedError(InputError):
    """Data are not those that a run was planned on, or cannot be read any more."""


def file_states(task: Task) -> dict[str, dict[str, Any]]:
    """What the files of a task held when they were read: path, sha256 and size, by the name of the hyper-parameter."""
    return {file.field: file.state._asdict() for file in task.data_files()}


def check_unchanged(task: Task, fingerprint: str | None, planned: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare the data of a task with those at planning. The task then learns from what was read here.

    Args:
        task: a new one, which reads its files now and never again.
        fingerprint: that of the run's identity.
        planned: what ``file_states`` said then, to name the file; empty where that was not recorded.

    Errors: DataChangedError, in one line with the file and what differs.
    """
    try:
        if task.fingerprint() == fingerprint:
            return
    except InputError as error:
        raise DataChangedError(f"{error}; it could be used when this was planned") from None
    for field, now in file_states(task).items():
        before = planned.get(field)
        if before is None or before["sha256"] == now["sha256"]:
            continue
        path, sizes = now["path"], (before["bytes"], now["bytes"])
        if before["path"] != path:
            raise DataChangedError(f"{field}: {path} is not what this was planned on, which was {before['path']}")
        differs = "{:,} bytes then, {:,} now".format(*sizes)
        if sizes[0] == sizes[1]:
            differs = f"sha256 {before['sha256'][:12]} then, {now['sha256'][:12]} now"
        raise DataChangedError(f"{field}: {path} has changed since this was planned: {differs}")
    raise DataChangedError("task: its data have changed since this was planned")
