"""A grid as one file for somebody else: its folder and its runs, as they lie in ``runs/``, in a tar file.

The first file, ``store/archive.json``, has the size and the sha256 of all others. The same grid makes the same archive,
byte for byte, wherever and whenever it is written.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import InputError, StorageError
from ..names import RESERVED
from .checkpoints import CHECKPOINT
from .digests import digest_of
from .files import replacing, unreadable
from .grids import CONTROLS, MANIFEST, controls_root, read_control_ids, read_run_ids, start_of
from .runs import Store
from .tar import CHUNK, END, header, padding
from .verify import verify_run

INDEX = "store/archive.json"
"""``store`` is no name of a grid."""
SCHEMA = 1
GRID_FILES = ("grid.yaml", MANIFEST, "looks.jsonl", "bench.json", "answers.json", "table.md", "table.csv", "table.json")
LEFT_OUT = ("mirror.json", CHECKPOINT)
"""What a run has that is about this machine's W&B, or is gone on from with its very versions and kind of processor."""

MOST_FILES = 1_000_000
DEEPEST = 3
GRID_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
RUN_FILE = re.compile(
    rf"(?P<root>[^/]+/{CONTROLS}/)?store/(?P<two>[0-9a-f]{{2}})/(?P<run>(?P=two)[0-9a-f]{{30}})/(?P<file>.+)"
)
"""``root``: of the runs whose outcome is known before; nothing for those of the grid."""
PLUGIN_FILE = re.compile(r"plugins/[0-9a-f]{64}\.py")


@dataclass(frozen=True)
class Exported:
    """What an archive has."""

    file: Path
    grid: str
    runs: int
    not_trained: int
    """Runs of the grid that have not come to an end, and are not in it."""
    files: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Source:
    """A file that goes into an archive: on the disk or, where it may change meanwhile, as it was read."""

    size: int
    sha256: str
    file: Path
    content: bytes | None = None

    def chunks(self) -> Iterator[bytes]:
        """Errors: StorageError, also where the file is another by now."""
        digest, size = hashlib.sha256(), 0
        try:
            with io.BytesIO(self.content) if self.content is not None else self.file.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    yield chunk
        except OSError as error:
            raise unreadable(self.file, error) from None
        if (size, digest.hexdigest()) != (self.size, self.sha256):
            raise StorageError(f"{self.file}: it was changed while it was exported; export again")


def export_grid(store: Store, name: str, output: Path) -> Exported:
    """Write the archive of a grid, with its runs and controls that have come to an end, and those that they start from.

    Every file is compared with what was recorded before. Errors: InputError where there is no such grid; StorageError,
    also where a run is damaged.
    """
    folder = store.grid_directory(name)
    if not is_grid_name(name) or not (folder / MANIFEST).is_file():
        raise InputError(f"GRID {name}: no grid of that name was run in {store.root}")
    sources = dict(_grid_files(folder))
    runs, not_trained = _runs(store, read_run_ids(folder))
    controls, not_trained_controls = _runs(Store(controls_root(store.root, name), store), read_control_ids(folder))
    for directory in runs + controls:
        sources |= dict(_run_files(store, directory))
    for path in sources:
        if not is_expected(path, name):
            raise InputError(f"{store.root / path}: its name is not valid on every system; rename or delete it")
    about = {"schema": SCHEMA, "grid": name, "files": {path: _about(sources[path]) for path in sorted(sources)}}
    index = (json.dumps(about, indent=1) + "\n").encode()
    with replacing(output) as staged, staged.open("wb") as stream:
        _write(stream, INDEX, _of_bytes(staged, index))
        for path in sorted(sources):
            _write(stream, path, sources[path])
        stream.write(END)
    return Exported(
        output,
        name,
        len(runs) + len(controls),
        not_trained + not_trained_controls,
        len(sources),
        output.stat().st_size,
        digest_of(output),
    )


def is_grid_name(name: object) -> bool:
    """Whether a name is one that the folder of a grid may have on every system."""
    fits = isinstance(name, str) and GRID_NAME.fullmatch(name) is not None and _is_name(name)
    return fits and str(name).lower() not in RESERVED


def is_expected(path: str, grid: str) -> bool:
    """Whether a path is one that a file of the archive of a grid may have."""
    if (match := RUN_FILE.fullmatch(path)) is not None:
        if match["root"] not in (None, root_of_controls(grid)):
            return False
        parts = match["file"].split("/")
        return len(parts) <= DEEPEST and all(map(_is_name, parts)) and parts[0] not in LEFT_OUT
    folder, _, file = path.partition("/")
    return folder == grid and (file in GRID_FILES or PLUGIN_FILE.fullmatch(file) is not None)


def run_of_path(path: str, root: str | None = None) -> str | None:
    """The run that a path in an archive belongs to; None for a file of the grid.

    ``root``: ``root_of_controls``, of which the runs are then; None for those of the grid.
    """
    match = RUN_FILE.fullmatch(path)
    return None if match is None or match["root"] != root else match["run"]


def root_of_controls(grid: str) -> str:
    """What precedes ``store/`` in the paths of the controls of a grid."""
    return f"{grid}/{CONTROLS}/"


def _is_name(name: str) -> bool:
    """Whether every system takes it for the name of a file."""
    return NAME.fullmatch(name) is not None and not name.endswith(".") and DEVICE.fullmatch(name) is None


def _grid_files(folder: Path) -> Iterator[tuple[str, _Source]]:
    """The files in a grid's folder, each as it is now: a command may be at work."""
    files = [folder / name for name in GRID_FILES]
    files += sorted(file for file in (folder / "plugins").glob("*") if PLUGIN_FILE.fullmatch(f"plugins/{file.name}"))
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(file, error) from None
        yield f"{folder.name}/{file.relative_to(folder).as_posix()}", _of_bytes(file, content)


def _runs(store: Store, named: list[str]) -> tuple[list[Path], int]:
    """The directories of runs and of those that they start from, and how many have not come to an end.

    Those that controls start from are runs of the grid.
    """
    found: dict[str, Path] = {}
    waiting, not_trained = list(named), set()
    while waiting:
        run_id = waiting.pop()
        if run_id in found:
            continue
        directory = store.directory(run_id)
        verified = verify_run(directory, run_id) if directory.exists() else None
        if verified is None or (verified.fault is not None and verified.fault.file == directory):
            not_trained.add(run_id)
            continue
        if verified.fault is not None:
            raise StorageError(
                f"{verified.fault.file}: {verified.fault.what}; `ablate check --repair` sets the run aside, and "
                "`ablate run` trains it again"
            )
        found[run_id] = directory
        if store.starts is store and (start := start_of(directory)) is not None:
            waiting.append(start)
    return [found[run_id] for run_id in sorted(found)], len(not_trained)


def _run_files(store: Store, directory: Path) -> Iterator[tuple[str, _Source]]:
    for file in directory.rglob("*"):
        inside = file.relative_to(directory)
        left_out = inside.parts[0] in LEFT_OUT or file.name.startswith(".")
        if file.is_file() and not left_out:
            try:
                source = _Source(file.stat().st_size, digest_of(file), file)
            except OSError as error:
                raise unreadable(file, error) from None
            yield file.relative_to(store.root).as_posix(), source


def _of_bytes(file: Path, content: bytes) -> _Source:
    return _Source(len(content), hashlib.sha256(content).hexdigest(), file, content)


def _about(source: _Source) -> Mapping[str, Any]:
    return {"bytes": source.size, "sha256": source.sha256}


def _write(stream: IO[bytes], path: str, source: _Source) -> None:
    stream.write(header(path, source.size))
    for chunk in source.chunks():
        stream.write(chunk)
    stream.write(padding(source.size))
