"""A disk that forgets at a power cut what was not synced: names that no folder was synced with, content of files.

The files are real ones; what ``os.fsync`` was called for is remembered, and ``cut`` leaves only that.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """Everything below ``root``."""

    def __init__(self, root: Path):
        self.root = root
        self.files: dict[int, bytes] = {}
        self.folders: dict[int, dict[str, tuple[int, bool]]] = {}
        self.held: list[int] = []
        """Open descriptors, so that no number of a file is given to another one."""
        self.before_sync: Callable[[], None] = lambda: None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notice what is synced inside."""
        original = os.fsync

        def fsync(descriptor: int) -> None:
            self.before_sync()
            original(descriptor)
            self.remember(Path(os.readlink(f"/proc/self/fd/{descriptor}")))  # noqa: PTH115

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            yield

    def remember(self, path: Path) -> None:
        self.held.append(os.open(path, os.O_RDONLY))
        number = path.stat().st_ino
        if path.is_dir():
            self.folders[number] = {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(path)}
        else:
            self.files[number] = path.read_bytes()

    def cut(self) -> None:
        """A power cut: what was not synced is gone, whatever else was written since."""
        number = self.root.stat().st_ino
        after = self.root.with_name(f"{self.root.name}.after")
        self.restore(number, after)
        for descriptor in self.held:
            os.close(descriptor)
        shutil.rmtree(self.root)
        after.rename(self.root)
        self.files, self.folders, self.held = {}, {}, []
        for path in [self.root, *self.root.rglob("*")]:
            self.remember(path)  # all that is there has survived

    def restore(self, number: int, place: Path) -> None:
        place.mkdir()
        for name, (inner, is_folder) in self.folders.get(number, {}).items():
            if is_folder:
                self.restore(inner, place / name)
            else:
                (place / name).write_bytes(self.files.get(inner, b""))
