"""Mounts of one folder with caches of their own, by bindfs: what several machines see of a network file system."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CACHES = "attr_timeout=60,entry_timeout=60,negative_timeout=60"
"""Seconds for which a mount remembers what is at a path, or that there is nothing; as long as NFS does at most."""


def reason_missing() -> str | None:
    """Why there can be none here; None where there can."""
    if shutil.which("bindfs") is None:
        return "bindfs: not installed (Debian: bindfs)"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse: not there, or not permitted"
    return None if os.geteuid() == 0 else "mounting needs root"


@contextmanager
def mounted(real: Path, *places: Path) -> Iterator[None]:
    """The folder ``real`` at several places, which end with the block."""
    done: list[Path] = []
    try:
        for place in places:
            place.mkdir()
            subprocess.run(["bindfs", "-o", CACHES, str(real), str(place)], check=True, capture_output=True)
            done.append(place)
        yield
    finally:
        for place in done:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def with_mount(real: Path, place: Path, words: Sequence[str]) -> list[str]:
    """A command that sees ``real`` at ``place``, by a mount that no other process sees."""
    script = f'bindfs -o {CACHES} "$0" "$1" && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(real), str(place), *words]
