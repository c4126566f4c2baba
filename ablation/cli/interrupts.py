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
    """Say which line of a plugin Ctrl-C has met, and which one does not return.

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
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, or of a program around this one
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
    """Name the line of a plugin that is at work for long, each call once."""
    worker, done = threading.get_ident(), threading.Event()

    def watch() -> None:
        last: FrameType | None = None
        named: FrameType | None = None
        while not done.wait(SECONDS):
            from ..plugins import lines_of_plugins

            stack = traceback.walk_stack(sys._current_frames()[worker])
            frame, line = next((each for each in stack if lines_of_plugins([each])), (None, 0))
            if frame is not None and frame is last and frame is not named:
                message(f"{lines_of_plugins([(frame, line)])[0]} has been at work for more than {SECONDS:.3g} s.")
                named = frame
            last = frame

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()
