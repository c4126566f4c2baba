"""Slurm: its settings, and what is refused; `scenarios` has what happens on a real one."""

from pathlib import Path

import pytest
from support.small_grids import BASE, Ablate, one_line, write_grid

from ablation.errors import InputError
from ablation.launch.choice import engine_of
from ablation.launch.slurm import Slurm, _minutes
from ablation.launch.slurm_task import Outcomes


def test_without_slurm_the_launcher_says_so(ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch is not on the path" in one_line(ablate("run", write_grid(tmp_path), "--launcher", "slurm"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("launcher: slrm", "launcher.yaml:1:1: launcher: 'slrm' is not a launcher; allowed: local, ray, slurm"),
        ("launcher: slurm\ncpu: 2", "launcher.yaml:2:1: cpu: unknown key"),
        ("launcher: slurm\nruns_per_job: 0", "launcher.yaml:2:1: runs_per_job: "),
        ("cpus: 2", "launcher: names the engine"),
    ],
)
def test_a_wrong_file_is_refused_at_its_line(tmp_path: Path, content: str, what: str) -> None:
    file = tmp_path / "launcher.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        engine_of(str(file))
    assert what in str(caught.value)


def test_an_unknown_launcher_and_a_detached_local_one_are_refused(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    assert "did you mean 'slurm'" in one_line(ablate("run", grid, "--launcher", "slrum"))
    assert "end with the command" in one_line(ablate("run", grid, "--detach"))


def test_shipped_launchers_are_read() -> None:
    folder = BASE.parent / "launchers"
    engines = {file.stem: engine_of(str(file)) for file in folder.glob("*.yaml")}
    assert set(engines) == {"local", "ray", "slurm"}
    assert isinstance(engines["slurm"], Slurm)
    assert engines["slurm"].arguments(1) == ["--cpus-per-task=2", "--mem=4G", "--time=4:00:00"]


def test_several_runs_share_a_gpu() -> None:
    engine = Slurm(gpus=0.25, cpus=2)
    assert engine.runs_at_once == 4
    assert engine.arguments(1) == ["--cpus-per-task=8", "--gres=gpu:1"]


@pytest.mark.parametrize(
    ("limit", "minutes"), [("30", 30), ("4:30", 4.5), ("4:00:00", 240), ("1-2", 1560), ("1-0:10", 1450), ("0:30", 0.5)]
)
def test_time_limits_are_read_as_slurm_does(limit: str, minutes: float) -> None:
    assert _minutes(limit) == minutes


def test_a_line_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    file, outcomes = tmp_path / "a.0.jsonl", Outcomes()
    assert list(outcomes.new(file)) == []
    file.write_text('{"run_id": "a", "how": "committed", "status": "completed"}\n{"run_id": "b", ')
    assert [ended.run_id for ended in outcomes.new(file)] == ["a"]
    with file.open("a") as stream:
        stream.write('"how": "died"}\n')
    assert [(ended.run_id, ended.how) for ended in outcomes.new(file)] == [("b", "died")]
    assert list(outcomes.new(file)) == []
