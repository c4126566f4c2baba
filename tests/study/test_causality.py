"""Whether a cell predicts tokens from later ones, which its loss does not show."""

from pathlib import Path
from typing import Any

import pytest
from support.plans import factors, plan
from support.small_grids import Ablate, one_line, write_grid
from torch import Tensor

from ablation import BuildContext, Feedforward, ForwardContext, register
from ablation.config.experiment import rebuild
from ablation.study.causality import cells_that_see_later_tokens

LEAK = """\
from ablation import Feedforward, register


@register("feedforward", "leak")
class Leak(Feedforward):
    \"\"\"The mean of the whole sequence.\"\"\"

    def __init__(self, build):
        super().__init__()

    def forward(self, x, context):
        return x + x.mean(1, keepdim=True)
"""


def test_no_bundled_mixer_sees_later_tokens(tmp_path: Path) -> None:
    mixers = "{model.mixer: [attention, lstm, convolution, mamba, hyena, gated_delta]}"
    assert cells_that_see_later_tokens(plan(tmp_path, factors(mixers, "set: {model.position: none}\nseeds: 1\n"))) == []


def test_component_that_does_not_run_here_is_left_to_training(tmp_path: Path, scratch_registry: Any) -> None:
    @register("feedforward", "elsewhere")
    class Elsewhere(Feedforward):
        """Has a kernel for another device."""

        def __init__(self, build: BuildContext):
            super().__init__()

        def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
            raise RuntimeError("no kernel")

    rebuild()
    planned = plan(tmp_path, factors("{model.feedforward: [mlp, elsewhere]}", "seeds: 1\n"))
    assert cells_that_see_later_tokens(planned) == []


def test_component_that_exits_is_named_and_ends_no_command(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any
) -> None:
    (tmp_path / "exits.py").write_text(LEAK.replace("return x + x.mean(1, keepdim=True)", "raise SystemExit(0)"))
    grid = write_grid(tmp_path, {"model.feedforward": ["mlp", "leak"]}, {}, seeds=1)
    planned = ablate("plan", grid, "--plugin", tmp_path / "exits.py")
    assert planned.code == 2 and "SystemExit: 0 (exits.py:" in one_line(planned)
    done = ablate("run", grid, "--plugin", tmp_path / "exits.py", "--workers", "1", "--json")
    assert (done.code, done.json["completed"], done.json["failed"]) == (1, 1, 1)


@pytest.mark.slow
def test_component_that_sees_them_is_named_by_plan_and_run(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any
) -> None:
    (tmp_path / "leak.py").write_text(LEAK)
    text = {"task": {"name": "text", "length": 8, "batch_size": 4, "validation_windows": 4}}
    grid = write_grid(tmp_path, {"model.feedforward": ["mlp", "leak"]}, text, seeds=1)
    planned = ablate("plan", grid, "--probe", "--json", "--plugin", tmp_path / "leak.py").json
    assert planned["sees_later"] == ["feedforward=leak"]
    answer = ablate("run", grid, "--plugin", tmp_path / "leak.py")
    assert "Tokens are predicted from later ones in feedforward=leak" in answer.err
