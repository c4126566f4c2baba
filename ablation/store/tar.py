"""The part of the tar format that an archive of a grid needs: regular files by their names, and nothing else.

Python's own reader follows links, extended headers and sparse files, none of which belongs into such an archive; what
comes from somebody else is better read by a reader that knows none of them. What is written here, every tar reads
(POSIX.1-1988, "ustar"; sizes of 8 GiB and more as GNU tar has them).
"""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import InputError

BLOCK = 512
CHUNK = 1 << 20
MODE = 0o644
LARGEST_OCTAL = 8**11
END = b"\0" * (2 * BLOCK)


class Entry:
    """A file in an archive, whose content is read before the next entry is asked for."""

    def __init__(self, name: str, size: int, stream: IO[bytes], archive: Path):
        self.name, self.size = name, size
        self._stream, self._archive, self._left = stream, archive, size

    def chunks(self) -> Iterator[bytes]:
        """The content that was not read yet. Errors: InputError where the archive ends before it."""
        while self._left:
            chunk = self._stream.read(min(CHUNK, self._left))
            if not chunk:
                raise InputError(f"{self._archive}: it ends in the middle of {self.name}; copy it again")
            self._left -= len(chunk)
            yield chunk


def header(name: str, size: int) -> bytes:
    """What precedes a file: the same for the same name and size, whoever owns it. Errors: ValueError: too long."""
    about = tarfile.TarInfo(name)
    about.size, about.mode = (size if size < LARGEST_OCTAL else 0), MODE
    block = bytearray(about.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict"))
    if size >= LARGEST_OCTAL:
        block[124:136] = b"\x80" + size.to_bytes(11, "big")
        block[148:156] = b"%06o\0 " % _checksum(block)
    return bytes(block)


def padding(size: int) -> bytes:
    """What follows a file of that size."""
    return b"\0" * (-size % BLOCK)


def read_entries(stream: IO[bytes], archive: Path, most: int) -> Iterator[Entry]:
    """The files in an archive, in their order; at most so many. Errors: InputError for all that is no such archive."""
    total = os.fstat(stream.fileno()).st_size
    for _ in range(most + 1):
        block = stream.read(BLOCK)
        if block == END[:BLOCK]:
            return
        name, size = _parse(block, archive)
        if size > total - stream.tell():
            raise InputError(f"{archive}: it ends in the middle of {name}; copy it again")
        entry = Entry(name, size, stream, archive)
        yield entry
        for _ in entry.chunks():
            pass
        stream.read(-size % BLOCK)
    raise InputError(f"{archive}: it has more than {most} files")


def _parse(block: bytes, archive: Path) -> tuple[str, int]:
    if len(block) < BLOCK:
        raise InputError(f"{archive}: not a tar file, or it ends too early; copy it again")
    try:
        if block[257:262] != b"ustar" or _octal(block[148:156]) != _checksum(block):
            raise ValueError
        prefix, name = (field.partition(b"\0")[0].decode() for field in (block[345:500], block[:100]))
        field = block[124:136]
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    except ValueError:
        raise InputError(f"{archive}: not a tar file written by `ablate export`, or damaged") from None
    name = f"{prefix}/{name}" if prefix else name
    if block[156:157] not in (b"0", b"\0"):
        raise InputError(f"{archive}: {name!r} is not a regular file; `ablate export` writes nothing else")
    return name, size


def _octal(field: bytes) -> int:
    if re.fullmatch(rb" *[0-7]+[ \0]*", field) is None:
        raise ValueError
    return int(field.strip(b" \0"), 8)


def _checksum(block: bytes | bytearray) -> int:
    """The sum of all bytes, with spaces instead of the checksum itself."""
    return sum(block) - sum(block[148:156]) + 8 * ord(" ")
