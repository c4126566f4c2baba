"""A share of the fuzz test; the whole is `python tests/faults/fuzz.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
CASES = 120


@pytest.mark.slow
def test_damaged_files_are_answered_in_one_line() -> None:
    command = [sys.executable, FUZZ, "--cases", str(CASES), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["cases"], summary["wrong"]) == (CASES, 0)
