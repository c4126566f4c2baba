"""Faults in the processes of a command: Python imports this first where the folder is on PYTHONPATH.

``ABLATION_FAULT`` holds JSON: ``{"in": "rename", "at": 3, "do": "kill", "once": FILE}`` does something at the third
call of an operation of the file system below a folder ``store``, in a process of a run, and only the first time where
FILE is named. ``ABLATION_EVENTS`` names a file to which every attempt that begins is appended, and every finished
rename of one, with the end that it has. ``ABLATION_INDEX_FROM`` is the number of runs from which on they have an index.
"""

import errno
import importlib.machinery
import json
import os
import signal
import sys
import time

FAULT = json.loads(os.environ.get("ABLATION_FAULT", "null"))
EVENTS = os.environ.get("ABLATION_EVENTS")
OPERATIONS = ("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
counts = dict.fromkeys((*OPERATIONS, "any"), 0)


def _place(argument):
    if isinstance(argument, int):
        try:
            return os.readlink(f"/proc/self/fd/{argument}")  # noqa: PTH115
        except OSError:
            return ""
    return os.fsdecode(argument)


def _strike(operation):
    if FAULT["in"] not in (operation, "any"):
        return
    counts[operation] += 1
    counts["any"] += 1
    if counts["any" if FAULT["in"] == "any" else operation] != FAULT["at"]:
        return
    once = FAULT.get("once")
    if once is not None:
        try:
            os.close(_open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
    if FAULT["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT["do"] == "pause":
        time.sleep(FAULT["seconds"])
        return
    number = getattr(errno, FAULT["do"])
    raise OSError(number, os.strerror(number))


def _watched(operation, original):
    def watched(*arguments, **options):
        place = _place(arguments[0])
        writes = operation != "open" or (len(arguments) > 1 and arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and "/store/attempts/" in place + "/":
            _strike(operation)
        return original(*arguments, **options)

    return watched


_open = os.open
if FAULT is not None:
    for _name in OPERATIONS:
        setattr(os, _name, _watched(_name, getattr(os, _name)))
if FAULT is not None and FAULT.get("clock"):
    _time, _jumps = time.time, __import__("random").Random(os.getpid())
    time.time = lambda: _time() + _jumps.choice([-3600.0, 3600.0, -1e9, 0.0])


class _Changed:
    """Changes a module as soon as it has been executed."""

    def __init__(self, name, change):
        self.name, self.change = name, change

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            self.change(module)

        spec.loader.exec_module = exec_module
        return spec


def _record_attempts(module):
    """Record every attempt that began, and every one that became its run."""
    begin, rename = module.begin, module.rename

    def recorded_begin(order):
        attempt = begin(order)
        _record(f"{attempt.name} began")
        return attempt

    def recorded_rename(attempt):
        end = "failure" if (attempt / "failure.json").exists() else "result"
        outcome = rename(attempt)
        _record(f"{attempt.name} {end} {outcome}")
        return outcome

    module.begin, module.rename = recorded_begin, recorded_rename


def _record(event):
    descriptor = _open(EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{event}\n".encode())
    os.close(descriptor)


if EVENTS is not None:
    sys.meta_path.insert(0, _Changed("ablation.store.attempts", _record_attempts))
if (_few := os.environ.get("ABLATION_INDEX_FROM")) is not None:
    sys.meta_path.insert(0, _Changed("ablation.store.index", lambda module: setattr(module, "FEW", int(_few))))
