"""Ctrl-C, and components that raise what Ctrl-C raises, or that never return, while a command works."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import InputError
from .common import message

SECONDS = 60.0
"""After so long in one call, the line of a plugin is named."""
IMPORTED_WHOLE = ("ablation", "torch", "numpy")
"""Packages whose import Ctrl-C waits for: one that was interrupted goes on without a part, or crashes the next time."""
CLASSES = "pydantic._internal._model_construction"
"""Makes the classes of configurations; it takes an interrupt for a mistake in them."""
SOON = 0.01
"""Seconds after which Ctrl-C is tried again."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, unlike the KeyboardInterrupt of a component."""


@contextmanager
def interrupts_named() -> Iterator[None]:
    """Say which line of a plugin Ctrl-C interrupts, and which call into one does not return.

    Errors: InputError where a plugin raises KeyboardInterrupt, which would end the command without a word.
    """
    try:
        with _interrupted(), _slow_lines_named():
            yield
    except KeyboardInterrupt as error:
        frames = _of_plugins(traceback.walk_tb(error.__traceback__))
        if frames and not isinstance(error, Interrupted):
            raise InputError(f"{_place(*frames[-1])}: raised KeyboardInterrupt") from error
        if frames:
            message(f"Stopped in {_place(*frames[-1])}.")
        raise


@contextmanager
def _interrupted() -> Iterator[None]:
    """Let Ctrl-C raise ``Interrupted``, where it raises anything."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone may handle signals
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, or another's
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _is_imported(frame):
            raise Interrupted
        # As a signal, which also ends what the thread waits for.
        again = threading.Timer(SOON, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        again.daemon = True
        again.start()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_imported(frame: FrameType | None) -> bool:
    """Whether what runs in a frame is part of an import, or of a configuration's class, that has to come to its end."""
    frames = [(str(each.f_globals.get("__name__")), each.f_code.co_name) for each, _ in traceback.walk_stack(frame)]
    return any(
        module == CLASSES or (function == "<module>" and module.partition(".")[0] in IMPORTED_WHOLE)
        for module, function in frames
    )


@contextmanager
def _slow_lines_named() -> Iterator[None]:
    """Name the line of a plugin whose call takes long, once per call."""
    worker, done = threading.get_ident(), threading.Event()

    def watch() -> None:
        last: FrameType | None = None
        is_named = False
        while not done.wait(SECONDS):
            call, line = _plugin_at_work(worker)
            is_named = is_named and call is last
            if call is not None and call is last and not is_named:
                message(f"{line} has been at work for more than {SECONDS:.3g} s.")
                is_named = True
            last = call  # the frame itself, whose address the next call may have; it lives until it is looked at again

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _plugin_at_work(thread: int) -> tuple[FrameType | None, str]:
    """The outermost call into a plugin that a thread is in, None where there is none; and the line it has come to."""
    stack = sys._current_frames().get(thread)
    frames = _of_plugins(traceback.walk_stack(stack)) if stack is not None else []
    return (frames[-1][0], _place(*frames[0])) if frames else (None, "")


def _of_plugins(frames: Iterable[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Those of plugins. As long as their module has not been imported whole there are none.

    It is not imported here: a command may be interrupted while it imports torch, which crashes when that is done again.
    """
    find = getattr(sys.modules.get("ablation.plugins"), "frames_of_plugins", None)
    return find(frames) if find is not None else []


def _place(frame: FrameType, line: int) -> str:
    return f"{frame.f_code.co_filename}:{line}"
