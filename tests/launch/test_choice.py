"""Where runs are trained: by a plugin's launcher too, and by as many at once as is asked for here."""

from pathlib import Path

import pytest
from support.small_grids import Ablate, one_line, output, write_grid

from ablation.launch import choice  # noqa: F401  registers launchers, which a scratch registry would forget
from ablation.launch.local import available_cores

PLUGIN = '''
"""{folder}"""
from pathlib import Path

from ablation.launch.engine import Engine
from ablation.launch.local import LocalLauncher
from ablation.registry import register


@register("launcher", "mine")
class Mine(Engine):
    """One run at a time, here."""

    def open(self, place):
        Path({folder!r}, "opened").touch()
        return LocalLauncher(1)
'''


def test_launcher_of_a_plugin_trains(ablate: Ablate, tmp_path: Path, scratch_registry: object) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(folder=str(tmp_path)))
    output(ablate("run", write_grid(tmp_path), "--plugin", plugin, "--launcher", "mine"))
    assert (tmp_path / "opened").exists()


def test_workers_are_of_this_machine(ablate: Ablate, tmp_path: Path) -> None:
    line = one_line(ablate("run", write_grid(tmp_path), "--launcher", "ray", "--workers", "2"))
    assert line.startswith("ablate: --workers: says how many runs this machine trains at once")
    (tmp_path / "here.yaml").write_text("launcher: local\nworkers: 2\n")
    answer = ablate("run", write_grid(tmp_path), "--launcher", tmp_path / "here.yaml", "--workers", "1", "--json")
    assert answer.code == 0


@pytest.mark.parametrize("name", ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"])
def test_cores_of_a_job_of_slurm_are_those_of_the_job(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cores = available_cores()
    monkeypatch.setenv(name, "1")
    assert available_cores() == 1
    monkeypatch.setenv(name, str(cores + 5))
    assert available_cores() == cores
