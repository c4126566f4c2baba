"""Archives of grids, read and written by Python's own tar."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from ablation.store.archive import INDEX

Files = dict[str, bytes]


def read(archive: Path) -> Files:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def write(archive: Path, files: Files, index: Any = None) -> None:
    """An archive with these files, and an index that fits, or ``index``."""
    about = json.loads(files.pop(INDEX))
    about["files"] = {
        path: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for path, content in files.items()
    }
    content = json.dumps(about if index is None else index).encode()
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in {INDEX: content, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
