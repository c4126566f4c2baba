"""What a command says before it imports anything heavy: planning a grid takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from ablation.grid.title import title

GRID = "# A study.\n# Does the norm matter?\nname: norms\nfactors: {model.norm: [layer_norm, rms_norm]}\n"


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    file = tmp_path / "norms.yaml"
    file.write_text(GRID)
    return file


def test_run_names_the_grid_and_its_question_before_heavy_imports(grid: Path) -> None:
    code = (
        "import os, sys, ablation.cli.common as common\n"
        "def message(line):\n"
        "    heavy = [name for name in ('torch', 'rich', 'numpy') if name in sys.modules]\n"
        "    os.write(1, f'{line} {heavy}\\n'.encode())\n"
        "    os._exit(0)\n"
        "common.message = message\n"
        "sys.stderr.isatty = lambda: True\n"
        "from pathlib import Path\n"
        "from ablation.cli.app import run\n"
        f"run(Path({str(grid)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "norms: Does the norm matter? []\n"


def test_title_prefers_the_question_that_the_grid_states(grid: Path) -> None:
    assert title(grid) == "norms: Does the norm matter?"
    grid.write_text(f"{GRID}question: And the heads?\n")
    assert title(grid) == "norms: And the heads?"
    grid.write_text("name: norms\n")
    assert title(grid) == "norms"
    assert title(Path("norms")) == "norms"
