"""``ablate status``."""

import json
from pathlib import Path

import pytest
from support.small_grids import Ablate, output, write_grid

from ablation.store.lock import hold


def test_status_compares_partial_runs_at_equal_tokens(ablate: Ablate, tmp_path: Path) -> None:
    file = write_grid(tmp_path, {"model.block": ["pre_norm", "post_norm"]})
    ablate("run", file, "--json")
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    (late,) = manifest["cells"][1]["runs"]
    store = tmp_path / "runs" / "store"
    folder = store / "attempts" / f"{late['id']}.0123"
    (store / late["id"][:2] / late["id"]).rename(folder)
    rows = [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"step":6' not in line]
    (folder / "metrics.jsonl").write_text("\n".join([*rows, '{"step": 6, "tok']))
    (folder / "result.json").unlink()
    with hold(tmp_path / "runs"):
        running = ablate("status", file, "--json").json
    assert (running["partial"], running["states"]) == (True, {"completed": 1, "running": 1})
    found = ablate("status", file, "--json").json
    assert found == {**running, "states": {"completed": 1, "stopped": 1}, "cells": found["cells"]}
    assert found["cells"][1]["states"] == {"stopped": 1}
    early = json.loads(rows[-1])
    assert found["tokens"] == early["tokens"]
    assert found["cells"][1]["loss"] == pytest.approx(early["validation/loss"])
    assert "partial: at equal tokens" in output(ablate("status", file))
