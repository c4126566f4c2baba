"""``ablate init``."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.small_grids import PROGRAM, ROOT, Ablate, counts, one_line, output

SMALL = {
    "model.d_model": 8, "model.n_layers": 1, "task.length": 8, "task.batch_size": 2, "training.max_steps": 2,
    "task.validation_windows": 4, "training.device": "cpu", "tracking.mode": "disabled",
}  # fmt: skip
FILES = {
    "README.md", ".gitignore", "base.yaml", "grid.yaml", "own_position.py", "test_own_position.py", "own_position.yaml",
    "schema.json", "grid.schema.json",
}  # fmt: skip


def test_init_writes_a_folder_that_trains(ablate: Ablate, tmp_path: Path) -> None:
    first = ablate("init", "start")
    assert first.code == 0
    assert {file.name for file in Path("start").iterdir()} == FILES
    for file, schema in (("base", "schema"), ("grid", "grid.schema"), ("own_position", "grid.schema")):
        assert f"$schema={schema}.json" in Path(f"start/{file}.yaml").read_text()
    words = [word for path, value in SMALL.items() for word in ("--set", f"{path}={value}")]
    answer = ablate("run", "start/grid.yaml", *words, "--seeds", "1", "--json")
    assert answer.code == 0
    assert counts(answer).items() >= {"planned": 8, "completed": 8}.items()
    again = ablate("init", "start")
    assert again.code == 2
    assert "already exists" in one_line(again)


def test_init_keeps_what_a_repository_has(ablate: Ablate, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    assert "Kept as it is: README.md" in output(ablate("init", folder))
    assert (folder / "README.md").read_text() == "mine" and {file.name for file in folder.iterdir()} == FILES


@pytest.mark.slow
def test_readme_of_the_folder_runs_from_top_to_bottom(ablate: Ablate, tmp_path: Path) -> None:
    """Also the pages of this repository name ``conf/``, which the folder does not have."""
    folder = tmp_path / "start"
    assert ablate("init", folder).code == 0
    base = folder / "base.yaml"
    base.write_text(base.read_text().replace("mode: auto", "mode: disabled"))
    for grid in folder.glob("*.yaml"):
        text = re.sub(r"(d_model|length|batch_size|max_steps|evaluate_every): \d+", r"\1: 8", grid.read_text())
        grid.write_text(re.sub(r"seeds: \d+", "seeds: 2", text))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    n_run = 0
    for block in re.findall(r"```bash\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL):
        for line in block.splitlines():
            program, *words = shlex.split(line, comments=True)
            start = ["-c", PROGRAM] if program == "ablate" else []
            command = [sys.executable, *start, *words]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
            n_run += 1
    assert n_run == 8
    assert '"log_distance"' in (folder / "schema.json").read_text()


def test_command_that_is_printed_can_be_given(ablate: Ablate, tmp_path: Path) -> None:
    said = output(ablate("init", "my dir")).splitlines()[-1]
    assert shlex.split(said.removeprefix("Now: ")) == ["ablate", "run", "my dir/grid.yaml"]
    said = output(ablate("grid", "my study.yaml", "--vary", "model.n_heads=4,2", "--base", "gpt2")).splitlines()[-1]
    assert shlex.split(said.removeprefix("Now: ")) == ["ablate", "run", "my study.yaml"]
