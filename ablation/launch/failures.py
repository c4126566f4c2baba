"""Failures that are alike: where three different runs fail of one cause and none succeeds, the others would too."""

import re
from collections import defaultdict

from ..secrets import redact
from ..store.attempts import LOG
from ..store.results import FINISHED, RunEnd, read_record
from ..store.runs import Store
from .death import tail

ALIKE = 3
LINES = 6
"""Of the traceback that are shown."""


class Failures:
    """The failures of one command, by what they have in common."""

    def __init__(self, store: Store, keep_going: bool):
        self.store, self.keep_going = store, keep_going
        self.runs: dict[str, set[str]] = defaultdict(set)
        self.any_success = False

    def reason_to_stop(self, run_id: str, end: RunEnd, n_left: int) -> str | None:
        """Why the ``n_left`` other runs should not be trained, once three have failed alike; None: go on."""
        if end.status in FINISHED:
            self.any_success = True
        if self.any_success or self.keep_going:
            return None
        fingerprint = self.fingerprint(run_id, end)
        self.runs[fingerprint].add(run_id)
        if len(self.runs[fingerprint]) < ALIKE:
            return None
        directory = self.store.live_directories([run_id]).get(run_id, self.store.directory(run_id))
        lines = [line for line in tail(directory / LOG).splitlines() if line.strip()][-LINES:]
        return "\n".join(
            [
                f"{ALIKE} runs ended alike ({fingerprint}) and none succeeded, so the other {n_left} were not trained: "
                f"{end.reason}",
                *(f"    {redact(line)}" for line in lines),
                f"The whole log: {directory / LOG}. --keep-going trains the others all the same.",
            ]
        )

    def fingerprint(self, run_id: str, end: RunEnd) -> str:
        """What failures with one cause have in common: the error and its place, else the reason."""
        failure = read_record(self.store.directory(run_id) / "failure.json", run_id) or {}
        reason = re.sub(r"\d+", "#", str(end.reason))  # numbers of jobs and tasks differ
        return str(failure.get("fingerprint") or f"{end.status}: {reason}")
