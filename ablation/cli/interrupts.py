"""Ctrl-C, and components that raise what Ctrl-C raises, or that never return, while a command works."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from ..errors import InputError
from .common import message

SECONDS = 60.0
"""After so long in one call, the line of a plugin is named."""


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
        from ..plugins import lines_of_plugins

        lines = lines_of_plugins(traceback.walk_tb(error.__traceback__))
        if lines and not isinstance(error, Interrupted):
            raise InputError(f"{lines[-1]}: raised KeyboardInterrupt") from error
        if lines:
            message(f"Stopped in {lines[-1]}.")
        raise


@contextmanager
def _interrupted() -> Iterator[None]:
    """Let Ctrl-C raise ``Interrupted``, where it raises anything."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone may handle signals
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, or another's
        yield
        return

    def interrupt(*_: Any) -> NoReturn:
        raise Interrupted

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
    from ..plugins import lines_of_plugins

    stack = sys._current_frames().get(thread)
    frames = [each for each in traceback.walk_stack(stack) if lines_of_plugins([each])] if stack is not None else []
    return (frames[-1][0], lines_of_plugins(frames[:1])[0]) if frames else (None, "")
