"""Faults in the processes of a command: Python imports this first where the folder is on PYTHONPATH.

``ABLATION_FAULT`` holds JSON: ``{"in": "rename", "at": 3, "do": "kill", "once": FILE}`` does something at the third
call of an operation of the file system in the folder of attempts, in one process, and only the first time where FILE is
named. ``{"in": "any", "plan": [[3, 0], [4, 1]], "claims": FOLDER, "do": "kill"}`` kills processes of runs: the first
process of one run at operation 3, the second process of another at 4; who is to be killed where is agreed on in FOLDER.
With ``"command": 5`` the command is killed as well, at its own operation 5.
``ABLATION_EVENTS`` names a file to which every attempt that begins is appended, and every finished rename of one, with
the end that it has. ``ABLATION_INDEX_FROM`` is the number of runs from which on they have an index.

Operations are the calls of ``os``; that a file is opened to be written, that its first part is written, while it is
still empty, and its second, when the first is on the disk, and that it is closed; and that each half of a file is
copied by ``shutil``.
"""

import builtins
import errno
import importlib.machinery
import io
import json
import os
import signal
import sys
import time

FAULT = json.loads(os.environ.get("ABLATION_FAULT", "null"))
EVENTS = os.environ.get("ABLATION_EVENTS")
OPERATIONS = ("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "truncate")
counts = dict.fromkeys((*OPERATIONS, "write", "close", "copy", "any"), 0)
IMPORTED_BY = os.getpid()
"""The command, or the server from which the processes of runs are forked."""


def _place(argument, folder=None):
    try:
        if isinstance(argument, int):
            return os.readlink(f"/proc/self/fd/{argument}")  # noqa: PTH115
        if folder is not None:
            return os.readlink(f"/proc/self/fd/{folder}") + "/" + os.fsdecode(argument)  # noqa: PTH115
        return os.fsdecode(argument)
    except (OSError, TypeError):
        return ""


def _is_of_an_attempt(place):
    return "/store/attempts/" in place + "/"


def _strike(operation, place):
    if FAULT["in"] not in (operation, "any"):
        return
    counts[operation] += 1
    counts["any"] += 1
    at = _planned(place) if "plan" in FAULT else FAULT["at"]
    if counts[operation if FAULT["in"] == operation else "any"] != at:
        return
    if "plan" in FAULT:
        _claim(f"{FAULT['claims']}/{os.getpid()}.struck")
    once = FAULT.get("once")
    if once is not None and not _claim(once):
        return
    if FAULT["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, FAULT["do"])
    raise OSError(number, os.strerror(number))


_known = []
"""Of this process: the number of its run in the plan, and the operation at which it is killed."""


def _planned(place):
    """The operation at which this process is to be killed; None for none."""
    if os.getpid() == IMPORTED_BY:
        return FAULT.get("command")
    if not _known and not (run := _run_of(place)):  # before it has a folder
        return None
    if not _known:
        claims, plan = FAULT["claims"], FAULT["plan"]
        own = os.path.join(claims, run)  # noqa: PTH118
        if not os.path.exists(own):  # noqa: PTH110
            number = next((n for n in range(len(plan)) if _claim(f"{claims}/number-{n}")), len(plan))
            descriptor = _open(own, os.O_CREAT | os.O_WRONLY)
            os.write(descriptor, str(number).encode())
            os.close(descriptor)
        with _open_file(own) as stream:
            number = int(stream.read())
        process = next(n for n in range(100) if _claim(f"{own}.process-{n}"))
        strikes = plan[number] if number < len(plan) else []
        _known[:] = [number, strikes[process] if process < len(strikes) else None]
    return _known[1]


def _run_of(place):
    return place.partition("/store/attempts/")[2].partition("/")[0].lstrip(".").partition(".")[0]


def _claim(file):
    try:
        os.close(_open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def _watched(operation, original):
    def watched(*arguments, **options):
        place = _place(arguments[0], options.get("dir_fd"))
        writes = operation != "open" or (len(arguments) > 1 and arguments[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and _is_of_an_attempt(place):
            _strike(operation, place)
        return original(*arguments, **options)

    return watched


class _Stream:
    """A file that is written: the first two writes, and the close, are operations."""

    def __init__(self, stream, place):
        self.__dict__.update(stream=stream, place=place, writes=0)

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __setattr__(self, name, value):
        setattr(self.stream, name, value)

    def __iter__(self):
        return iter(self.stream)

    def __enter__(self):
        self.stream.__enter__()
        return self

    def __exit__(self, *error):
        self.close()

    def write(self, data):
        self.__dict__["writes"] += 1
        if self.writes <= 2:
            self.stream.flush()
            _strike("write", self.place)
        return self.stream.write(data)

    def close(self):
        if self.stream.closed:
            return
        try:
            if self.writes:
                _strike("close", self.place)
        finally:
            self.stream.close()


def _opened(file, mode="r", *arguments, **options):
    place = _place(file) if set(mode) & set("wxa+") else ""
    if not _is_of_an_attempt(place):
        return _open_file(file, mode, *arguments, **options)
    _strike("open", place)
    stream = _open_file(file, mode, *arguments, **options)
    # The log is written past Python, and by a thread of its own.
    return stream if place.endswith("/log.txt") else _Stream(stream, place)


def _copied(out, into, offset, count):
    """One half of the file at a time."""
    place = _place(out)
    if not _is_of_an_attempt(place):
        return _sendfile(out, into, offset, count)
    _strike("copy", place)
    return _sendfile(out, into, offset, max(1, min(count, (os.fstat(into).st_size + 1) // 2)))


_open, _open_file, _sendfile = os.open, io.open, os.sendfile
if FAULT is not None:
    for _name in OPERATIONS:
        setattr(os, _name, _watched(_name, getattr(os, _name)))
    builtins.open = io.open = _opened
    os.sendfile = _copied
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
