"""``ablate init``."""

from pathlib import Path

from support.small_grids import Ablate, counts, one_line


def test_init_writes_a_folder_that_trains(ablate: Ablate, tmp_path: Path) -> None:
    first = ablate("init", "start")
    assert first.code == 0
    assert {file.name for file in Path("start").iterdir()} == {
        "base.yaml",
        "grid.yaml",
        "schema.json",
        "grid.schema.json",
    }
    for file, schema in (("base", "schema.json"), ("grid", "grid.schema.json")):
        assert f"$schema={schema}" in Path(f"start/{file}.yaml").read_text()
    small = {"model.d_model": 8, "model.n_layers": 1, "task.length": 8, "task.batch_size": 2, "training.max_steps": 2}
    settings = {**small, "task.validation_windows": 4, "training.device": "cpu", "tracking.mode": "disabled"}
    words = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
    answer = ablate("run", "start/grid.yaml", *words, "--seeds", "1", "--json")
    assert answer.code == 0
    assert counts(answer).items() >= {"planned": 8, "completed": 8}.items()
    again = ablate("init", "start")
    assert again.code == 2
    assert "there already" in one_line(again)
