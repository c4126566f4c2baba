"""``ablate plan``."""

from pathlib import Path

from support.small_grids import Ablate, write_grid, write_results


def test_plan_counts_trained_runs_and_trains_nothing(ablate: Ablate, tmp_path: Path, nothing_may_start: None) -> None:
    grid = write_grid(tmp_path, seeds=3)
    planned = ablate("plan", grid, "--json").json
    assert planned["planned"] == 6
    assert planned["finished"] == 0
    assert [cell["label"] for cell in planned["cells"]] == ["block=pre_norm", "block=post_norm"]
    assert planned["cells"][0]["training_tokens"] == 6 * 4 * 8
    assert not (tmp_path / "runs").exists()
    write_grid(tmp_path)
    write_results(tmp_path)
    assert "2 finished, 0 to train" in ablate("plan", grid).out
