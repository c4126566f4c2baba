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


def test_plan_shows_what_one_sequence_costs_in_a_cache(ablate: Ablate, tmp_path: Path, nothing_may_start: None) -> None:
    """By hand, for 8 tokens, 8 features in one layer, and float32: two vectors a token, or the two of a state."""
    mixers = ["attention", {"name": "attention", "window": 3}, {"name": "lstm", "expansion": 1.0}]
    grid = write_grid(tmp_path, {"model.mixer": mixers}, {"model.position": "none"})
    cells = ablate("plan", grid, "--json").json["cells"]
    counted = [(cell["cache_bytes"], cell["cache_bytes_per_token"]) for cell in cells]
    assert counted == [(8 * 64, 64), (2 * 64, 0), (64, 0)]
    shown = ablate("plan", grid).out
    assert (
        "cache B" in shown and "cache B/" in shown and "of one sequence of the task's length in 32-bit numbers" in shown
    )
    rows = [line.split() for line in shown.splitlines() if "mixer=" in line or "attention" in line]
    assert [row[-2:] for row in rows if "0/1" in row] == [["512", "64"], ["128", "0"], ["64", "0"]]
    encoder = write_grid(tmp_path, {"model.block": ["pre_norm"]}, {"model.architecture": "encoder"})
    assert "32-bit" not in ablate("plan", encoder).out


def test_plan_says_that_runs_may_stop_early(ablate: Ablate, tmp_path: Path, nothing_may_start: None) -> None:
    assert "each run: 192 tokens" in ablate("plan", write_grid(tmp_path)).out
    stopping = write_grid(tmp_path, settings={"training.early_stopping": {"patience": 2}})
    assert "each run: at most 192 tokens" in ablate("plan", stopping).out
