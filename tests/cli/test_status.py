"""``ablate status``."""

import json
from pathlib import Path

import pytest
from support.small_grids import Ablate, output, write_grid


def test_status_compares_partial_runs_at_equal_tokens(ablate: Ablate, tmp_path: Path) -> None:
    file = write_grid(tmp_path, {"model.block": ["pre_norm", "post_norm"]})
    ablate("run", file, "--json")
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    (late,) = manifest["cells"][1]["runs"]
    folder = tmp_path / "runs" / "store" / late["id"][:2] / late["id"]
    rows = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"step":6' not in line]
    (folder / "metrics.jsonl").write_text("\n".join([*rows, '{"step": 6, "tok']))
    (folder / "result.json").unlink()
    found = ablate("status", file, "--json").json
    assert (found["partial"], found["states"]) == (True, {"completed": 1, "running": 1})
    early = json.loads(rows[-1])
    assert found["tokens"] == early["tokens"]
    assert found["cells"][1]["loss"] == pytest.approx(early["validation/loss"])
    assert "partial: at equal tokens" in output(ablate("status", file))
