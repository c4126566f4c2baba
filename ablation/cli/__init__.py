"""The command line: each command parses, calls ``Study`` or ``Results``, and prints.

Heavy imports stay inside the commands, so that ``--help`` answers at once.
"""

import faulthandler
import os
import sys
from atexit import register
from errno import EACCES, ELOOP, ENAMETOOLONG
from gc import freeze, set_threshold  # not the module, whose name is that of a command beside this
from pathlib import Path

from ..errors import InputError, Locked, StorageError, printable
from ..secrets import redact
from .common import DONE, INPUT, INTERRUPTED, LOCKED, STORAGE
from .streams import ClosedPipe, standard_streams

GARBAGE = 1_000_000
"""Objects made before Python looks for garbage, instead of 700: the objects of ten thousand runs are all in use."""

STANDARD_ERROR = 2
"""Its number, which holds also where a program has put something else in its place."""

NO_FILE = (ENAMETOOLONG, EACCES, ELOOP)
"""What asking whether there is a file may end with: its name is no name, or a folder above it is closed."""

KILLED_BY_INTERRUPT = 130
"""The code that typer returns for a Ctrl-C that no command has caught."""


def main() -> int:
    """Run the command that the arguments name; an error of the user is one line, never a traceback."""
    set_threshold(GARBAGE, 20, 20)
    if not faulthandler.is_enabled():
        faulthandler.enable(STANDARD_ERROR)  # a component that crashes while a command plans is named by its line
    register(freeze)  # or Python looks through all that was imported once more before it ends, for up to a second
    try:
        with standard_streams():
            return _run()
    except ClosedPipe:
        return DONE
    except StorageError as error:
        return _fail(error, STORAGE)
    except KeyboardInterrupt:  # before a command has begun
        return INTERRUPTED


def _run() -> int:
    from typer.exceptions import TyperException

    from .app import app
    from .complete import join_words

    join_words(os.environ)

    try:
        code: int = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except (InputError, TyperException) as error:
        return _fail(error, INPUT)
    except Locked as error:
        return _fail(error, LOCKED)
    except StorageError as error:
        return _fail(error, STORAGE)
    except OSError as error:
        if error.errno not in NO_FILE or not isinstance(error.filename, str | Path):
            raise
        return _fail(InputError(f"{error.filename}: {error.strerror}"), INPUT)
    return INTERRUPTED if code == KILLED_BY_INTERRUPT else code


def _fail(error: Exception, code: int) -> int:
    text = error.format_message().replace("Value error, ", "") if hasattr(error, "format_message") else str(error)
    print(f"ablate: {printable(redact(text))}", file=sys.stderr)
    return code
