"""The command line: thin commands over the package. Heavy imports stay inside them, so that ``--help`` is at once."""

import sys

from ..errors import InputError, Locked, StorageError

INPUT, LOCKED, INTERRUPTED, STORAGE = 2, 3, 4, 5
"""Exit codes; 0 is done, 1 that some runs failed for good."""

KILLED_BY_INTERRUPT = 130
"""What typer makes of a Ctrl-C that no command answered."""


def main() -> int:
    """Run the command that the arguments name; what the user did wrong is one line, never a traceback."""
    from typer.exceptions import TyperException

    from .app import app

    try:
        code: int = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except (InputError, TyperException) as error:
        return _say(error, INPUT)
    except Locked as error:
        return _say(error, LOCKED)
    except StorageError as error:
        return _say(error, STORAGE)
    return INTERRUPTED if code == KILLED_BY_INTERRUPT else code


def _say(error: Exception, code: int) -> int:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"ablate: {InputError(text)}", file=sys.stderr)  # which makes one harmless line of any text
    return code
