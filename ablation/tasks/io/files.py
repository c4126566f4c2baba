"""Files of data: each is read once, so that what is hashed is what is learned from, and by one rule for its text.

The rule: a text is UTF-8; a byte order mark at its start is dropped, and every line ends in ``\\n``, also where the
file has ``\\r\\n`` or ``\\r``.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...errors import InputError, nearest_file
from .saved import is_saved

BYTE_ORDER_MARK = "\ufeff"


class FileState(NamedTuple):
    """What a file held when it was read."""

    path: str
    sha256: str
    bytes: int


class DataFile:
    """A file that a hyper-parameter names. Nothing is read before it is asked for, and nothing twice.

    Args:
        field: the hyper-parameter, such as ``task.path``.
        path: the file; its content is never read again, however the file changes.
        read_saved: the content of a folder that `datasets` has written, which is no single file.
    """

    expected = "a text file"
    """What it should be, for the error where it is a folder or a device."""

    def __init__(self, field: str, path: Path, read_saved: Callable[[Path], bytes] | None = None):
        self.field, self.path, self.read_saved = field, path, read_saved

    @property
    def note(self) -> str | None:
        """What the reader of a table should know of this source."""
        return None

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file. Errors: InputError."""
        if self.read_saved is not None and self.path.suffix != ".parquet" and is_saved(self.path):
            return self.read_saved(self.path)
        try:
            if self.path.is_file():  # reading a device might never end
                return self.path.read_bytes()
            if self.path.exists():
                raise InputError(f"{self.field}: {self.path} is not a file; expected {self.expected}")
            raise InputError(f"{self.field}: there is no file {self.path}{nearest_file(self.path)}")
        except OSError as error:
            raise InputError(f"{self.field}: {self.path} cannot be read: {error.strerror}") from None

    @cached_property
    def text(self) -> str:
        """The text of the file, by the rule of this module. Errors: InputError."""
        try:
            return plain_text(self.content.decode())
        except UnicodeDecodeError as error:
            raise InputError(f"{self.field}: {self.path}: not UTF-8 at byte {error.start}") from None

    @cached_property
    def state(self) -> FileState:
        """What it held. Errors: InputError."""
        return FileState(str(self.path), sha256(self.content).hexdigest(), len(self.content))


def plain_text(text: str) -> str:
    """A text without a byte order mark, whose lines end in ``\\n``."""
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\r", "\n")


def plain_bytes(content: bytes) -> bytes:
    """The same for the bytes of a text; what is not UTF-8 is no text and stays as it is."""
    if b"\r" not in content and not content.startswith(BYTE_ORDER_MARK.encode()):
        return content
    try:
        return plain_text(content.decode()).encode()
    except UnicodeDecodeError:
        return content


def combined_hash(hashes: Sequence[str]) -> str:
    """One hash for several; that of a single one is itself."""
    return hashes[0] if len(hashes) == 1 else sha256("".join(hashes).encode()).hexdigest()
