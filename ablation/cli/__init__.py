"""The command line: thin commands over the package. Heavy imports stay inside them, so that ``--help`` is at once."""

import sys

from ..errors import InputError, Locked, StorageError

INPUT, LOCKED, INTERRUPTED, STORAGE = 2, 3, 4, 5
"""Exit codes; 0 is done, 1 that some runs failed for good."""


def main() -> int:
    """Run the command that the arguments name; what the user did wrong is one line, never a traceback."""
    from .app import app

    try:
        return app(standalone_mode=False) or 0
    except InputError as error:
        return _say(error, INPUT)
    except Locked as error:
        return _say(error, LOCKED)
    except StorageError as error:
        return _say(error, STORAGE)


def _say(error: Exception, code: int) -> int:
    print(f"ablate: {error}", file=sys.stderr)
    return code
