"""What tests of several folders share; `support` is on the path of every test (see pyproject.toml)."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
BASE = CONF / "base.yaml"
DATA = Path(os.environ.get("ABLATION_DATA", ROOT.parent / "shared" / "data"))
"""Public data sets, on machines that have them: tests that need them are skipped elsewhere."""
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the published files are not here: set ABLATION_DATA")
