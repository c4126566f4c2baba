"""Ray: its settings, and what is refused; `scenarios` has what happens on a real cluster."""

import sys
from pathlib import Path

import pytest
from support.ray import reason_missing
from support.small_grids import NORMS, Ablate, one_line, write_grid

from ablation.launch.ray import Ray

missing = reason_missing()
real = pytest.mark.skipif(missing is not None, reason=f"no Ray: {missing}")


def test_without_the_package_one_line_says_what_to_install(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    grid = write_grid(tmp_path, NORMS, {})
    assert "pip install 'transformer-ablation[ray]'" in one_line(ablate("run", grid, "--launcher", "ray"))


@real
def test_an_address_where_nothing_answers_is_said_in_one_line(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "launcher.yaml").write_text("launcher: ray\naddress: 127.0.0.1:1\n")
    said = one_line(ablate("run", write_grid(tmp_path, NORMS, {}), "--launcher", tmp_path / "launcher.yaml"))
    assert "--launcher ray: address 127.0.0.1:1: nothing answers there (Connection refused)" in said


def test_what_a_run_needs_is_counted_in_the_units_of_ray() -> None:
    assert Ray(cpus=2, memory=1.5, gpus=0.25).needs(1) == {"CPU": 2.0, "GPU": 0.25, "memory": 1.5 * 2**30}
    assert Ray().needs(3) == {"CPU": 3.0}
