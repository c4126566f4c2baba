# ruff: noqa: T201
"""Damaged files: `python tests/faults/fuzz.py [--cases 20000] [--seed 0] [--case NUMBER]`.

Each case damages one file, seeded, and reads it as commands do. It passes where that works, or ends in an error of one
line, which names file, line and column where the file is YAML, within 2 seconds of the processor and 500 MB.
"""

import argparse
import json
import multiprocessing
import random
import re
import resource
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from mutations import mutate  # noqa: E402
from subjects import PAGES, Subject, make_subjects  # noqa: E402

from ablation.errors import InputError, StorageError  # noqa: E402

SECONDS, MEGABYTES, GIVE_UP = 2.0, 500.0, 30.0
"""Limits of a case; one that takes ``GIVE_UP`` seconds hangs."""
SECONDS_WITH_PAGE = 6.0
"""Of the cases in which a page is made, which takes 2 seconds of undamaged files as well."""
LONGEST_MESSAGE = 2000
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def try_case(subject: Subject, content: bytes) -> str | None:
    """What is wrong with how a damaged file is answered; None where nothing is."""
    subject.file.write_bytes(content)
    try:
        printed = subject.read(subject.file)
    except (InputError, StorageError) as error:
        message = str(error)
        if "\n" in message or (not message.isprintable() and isinstance(error, InputError)):
            return f"not one line: {message[:100]!r}"
        if len(message) > LONGEST_MESSAGE:
            return f"a message of {len(message)} characters: {message[:100]}"
        # A grid may name any file as its baseline; of a file that is too large no line is read.
        if subject.file.suffix == ".yaml" and not re.search(r"[^ ]:\d+:\d+: |: is larger than ", message):
            return f"no line and column: {re.sub(r'/[^ ]*/', '', message)[:100]}"
        return None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/ablation/" in frame.filename] or frames
        where = f"{own[-1].filename.rpartition('/ablation/')[2]}:{own[-1].lineno}"
        return f"{type(error).__name__} at {where}"
    finally:
        subject.file.write_bytes(subject.content)
    if match := _CONTROLS.search(printed):
        return f"prints the control character U+{ord(match[0]):04X}"
    return None


def choose(subjects: list[Subject], seed: int, number: int) -> tuple[Subject, bytes]:
    """The file of a case and its damaged content."""
    rng = random.Random(f"{seed}:{number}")
    random.seed(number)
    subject = rng.choices(subjects, [subject.weight for subject in subjects])[0]
    content = subject.content
    try:
        content = mutate(rng, subject.file.name, content)
    except (ValueError, RecursionError, IndexError, TypeError, AttributeError, OverflowError, KeyError):
        content = mutate(rng, "text", content)  # where its structure cannot be written again
    return subject, content


def work(folder: str, seed: int, connection: Any) -> None:
    """A process that reads cases; it tells the result, the seconds of the processor and the megabytes of each."""
    subjects = make_subjects(Path(folder))
    torch.set_num_threads(1)
    for subject in subjects:  # undamaged, all of them work
        subject.read(subject.file)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (3 << 30), size + (3 << 30)))
    connection.send(None)
    while (number := connection.recv()) is not None:
        subject, content = choose(subjects, seed, number)
        before, started = _megabytes(), time.process_time()
        wrong = try_case(subject, content)
        seconds, megabytes = time.process_time() - started, _megabytes() - before
        connection.send((wrong, seconds, megabytes, str(subject.file.relative_to(folder))))


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one, with its content and traceback")
    arguments = parser.parse_args()
    if arguments.case is not None:
        return _show(arguments.seed, arguments.case)
    context, wrong = multiprocessing.get_context("fork"), defaultdict[str, list[int]](list)
    files: dict[int, str] = {}
    slowest, largest, started, process = (0.0, -1), (0.0, -1), time.monotonic(), None
    for number in range(arguments.cases):
        if process is None:
            connection, theirs = context.Pipe()
            folder = tempfile.TemporaryDirectory()
            process = context.Process(target=work, args=(folder.name, arguments.seed, theirs), daemon=True)
            process.start()
            theirs.close()
            connection.recv()
        connection.send(number)
        answer = None
        if connection.poll(GIVE_UP):
            try:
                what, seconds, megabytes, files[number] = answer = connection.recv()
            except EOFError:
                wrong["the process died"].append(number)
        else:
            wrong["hangs"].append(number)
        if answer is None:
            process.kill()
            process.join()
            folder.cleanup()
            process = None
            continue
        slowest, largest = max(slowest, (seconds, number)), max(largest, (megabytes, number))
        if what is not None:
            wrong[what].append(number)
        limit = SECONDS_WITH_PAGE if random.Random(number).random() < PAGES else SECONDS
        if seconds > limit:
            wrong[f"takes over {limit:g} s"].append(number)
        if megabytes > MEGABYTES:
            wrong[f"takes over {MEGABYTES:g} MB"].append(number)
    if process is not None:
        connection.send(None)
        process.join()
        folder.cleanup()
    for what, numbers in sorted(wrong.items(), key=lambda item: -len(item[1])):
        of = sorted({files.get(number, "?") for number in numbers})
        print(f"{len(numbers):5} {what} (cases {', '.join(map(str, numbers[:4]))}; {', '.join(of[:3])})")
    failed = sum(map(len, wrong.values()))
    summary = {"cases": arguments.cases, "seed": arguments.seed, "wrong": failed, "kinds": len(wrong)}
    summary |= {"slowest_s": round(slowest[0], 2), "slowest": slowest[1], "largest_mb": round(largest[0])}
    print(json.dumps({**summary, "largest": largest[1], "seconds": round(time.monotonic() - started)}))
    return 1 if wrong else 0


def _show(seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        subject, content = choose(make_subjects(Path(folder)), seed, number)
        print(subject.file, content.decode(errors="backslashreplace")[:4000], sep="\n")
        subject.file.write_bytes(content)
        started = time.process_time()
        try:
            subject.read(subject.file)
        except Exception:
            traceback.print_exc()
        print(f"{time.process_time() - started:.2f} s")
        subject.file.write_bytes(subject.content)
        random.seed(number)
        wrong = try_case(subject, content)
    print(wrong or "fine")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
