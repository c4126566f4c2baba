"""What only a GPU can show: half precision, flex in training, memory, and several seeds at once."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_grids import ROOT, small_config

from ablation.training.run import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
ON_GPU = {"training.device": "cuda", "model.dropout": 0.0}


def final(folder: Path, settings: dict[str, Any]) -> dict[str, float]:
    """The scores of a run at its end."""
    folder.mkdir()
    result = train(small_config({**ON_GPU, **settings}), folder)
    assert result["status"] == "completed"
    return json.loads(json.dumps(result["quality"]["final"]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_half_precision_trains_to_about_the_same_loss(tmp_path: Path, precision: str) -> None:
    exact = final(tmp_path / "exact", {"training.precision": "32-true"})
    half = final(tmp_path / "half", {"training.precision": precision})
    assert half["loss"] == pytest.approx(exact["loss"], rel=0.05)


@pytest.mark.parametrize("position", ["rope", "alibi"])
def test_flex_trains_to_the_loss_of_sdpa(tmp_path: Path, position: str) -> None:
    def loss(backend: str) -> float:
        mixer = {"name": "attention", "backend": backend}
        settings = {"model.mixer": mixer, "model.position": position, "training.precision": "32-true"}
        return final(tmp_path / backend, settings)["loss"]

    assert loss("flex") == pytest.approx(loss("sdpa"), rel=1e-2)


def test_a_run_on_a_gpu_is_about_that_on_the_cpu(tmp_path: Path) -> None:
    gpu = final(tmp_path / "gpu", {"training.precision": "32-true"})
    cpu = final(tmp_path / "cpu", {"training.precision": "32-true", "training.device": "cpu"})
    assert gpu["loss"] == pytest.approx(cpu["loss"], rel=1e-2)


@pytest.mark.filterwarnings("ignore")
def test_the_figures_of_a_gpu_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "benchmarks"))
    import gpu

    size = ["--d-model=64", "--layers=2", "--length=128", "--batch=4", "--steps=3"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *size])
    gpu.main()
    printed = capsys.readouterr().out
    assert "bf16, flex" in printed and "losses agree" in printed
