"""Large grids: what cells have in common is read, checked and built once, and what is too large is refused early."""

import time
from pathlib import Path
from typing import Any

import pytest
from support.plans import factors, plan

from ablation.config.identity import run_id, run_identity
from ablation.config.layered import read_base
from ablation.errors import InputError
from ablation.grid import checks
from ablation.grid.file import read_grid
from ablation.model import size

CROSSED = factors(
    "{model.norm: [layer_norm, rms_norm], model.position: [rope, {name: rope, theta: 5e5}], optimizer.lr: [1e-3, 2e-3],"
    " optimizer.betas: [[0.9, 0.95], [0.8, 0.9]], training.z_loss: [0.0, 0.1], task.symbols: [4, 6]}",
    "seeds: [3, 5]\nallow: [unit, validation]\n",
)


def refusal(folder: Path, grid: str, *settings: str, n_seeds: int | None = None) -> str:
    with pytest.raises(InputError) as raised:
        plan(folder, grid, settings, n_seeds)
    return str(raised.value)


def test_cells_that_share_sections_are_those_resolved_one_by_one(tmp_path: Path) -> None:
    planned = plan(tmp_path, CROSSED)
    assert len(planned.cells) == 64
    for cell in planned.cells:
        layered = read_base(tmp_path / "base.yaml")
        for path, level in cell.levels.items():
            layered.set(path, level.value, planned.grid.document, level.path)
        alone = layered.build()
        for run in cell.runs:
            config = alone.model_copy(update={"seed": run.seed})
            assert (run.config, run.id) == (config, run_id(run_identity(config, run.fingerprint)))


def test_a_thousand_cells_of_one_model_build_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counting(*arguments: Any) -> Any:
        built.append(arguments[0])
        return original(*arguments)

    original = checks.build_to_count
    monkeypatch.setattr(checks, "build_to_count", counting)
    rates = ", ".join(str(round(1e-4 * (1 + i / 1000), 8)) for i in range(1000))
    planned = plan(tmp_path, factors(f"{{optimizer.lr: [{rates}]}}", "seeds: 1\n"))
    assert len(planned.cells) == 1000
    assert len(built) == 1


def test_cells_are_bounded_before_they_are_listed(tmp_path: Path) -> None:
    steps, lengths = list(range(1, 401)), list(range(1, 301))
    (tmp_path / "grid.yaml").write_text(factors(f"{{training.max_steps: {steps}, training.evaluate_every: {lengths}}}"))
    with pytest.raises(InputError, match="factors: 120,000 cells; at most 100,000 runs are allowed"):
        read_grid(tmp_path / "grid.yaml")


@pytest.mark.parametrize("design", ["factorial", "one_at_a_time", "cumulative"])
def test_runs_are_bounded_in_every_design(tmp_path: Path, design: str) -> None:
    grid = factors("{model.norm: [layer_norm, rms_norm]}", f"design: {design}\nseeds: 50001\n")
    assert "grid.yaml:5:1: seeds: 2 cells with 50,001 seeds each" in refusal(tmp_path, grid)
    assert "--seeds 60000: 2 cells" in refusal(tmp_path, grid.replace("seeds: 50001", "seeds: 2"), n_seeds=60_000)


@pytest.fixture
def gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 1 GB."""
    monkeypatch.setattr(checks, "machine_memory", lambda: 1e9)


@pytest.mark.usefixtures("gigabyte")
def test_model_too_large_for_the_machine_is_refused_at_its_line(tmp_path: Path) -> None:
    begin = time.process_time()
    many = refusal(tmp_path, factors("{model.n_layers: [1, 100000]}"))
    assert many.endswith("with gradients and optimizer; this machine has 1 GB")
    assert "grid.yaml:3:31: model.n_layers: 100000 layers are 313,600,112 parameters, 5 GB" in many
    wide = refusal(tmp_path, factors("{model.norm: [layer_norm]}"), "model.d_model=40000")
    assert wide.startswith("--set model.d_model: with 40,000 features there are 19,")
    wider = refusal(tmp_path, factors("{model.norm: [layer_norm]}"), "model.d_model=40000000000")
    assert wider.startswith("--set model.d_model: with 40,000,000,000 features there are more parameters than can")
    words = refusal(tmp_path, factors("{model.norm: [layer_norm]}"), "task.symbols=100000000")
    assert "task: with a vocabulary of 100,000,001 there are 1,600,003,184 parameters, 26 GB" in words
    long = refusal(
        tmp_path, factors("{model.norm: [layer_norm]}"), "model.max_length=1000000000", "model.position=learned"
    )
    assert long.startswith("--set model.max_length: with a length of 1,000,000,000 there are 16,000,003,248 parameters")
    assert time.process_time() - begin < 20


@pytest.mark.usefixtures("gigabyte")
def test_examples_that_do_not_fit_into_the_machine_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablation.tasks.generated.base.machine_memory", lambda: 1e9)
    grid = factors("{model.norm: [layer_norm]}")
    for setting in ("task.length=100000000", "task.epoch_examples=100000000", "task.validation_examples=100000000"):
        name = setting.partition("=")[0]
        message = refusal(tmp_path, grid, setting)
        assert message.startswith(f"--set {name}: the examples of an epoch or of a validation set take ")
        assert message.endswith(" GB, and this machine has 1")


@pytest.mark.parametrize("setting", ["model.d_model=7", "model.n_heads=3"])
def test_values_that_contradict_each_other_are_those_of_the_command(tmp_path: Path, setting: str) -> None:
    grid = factors("{model.norm: [layer_norm]}", "set: {model.d_model: 8, model.n_heads: 2}\n")
    assert refusal(tmp_path, grid, setting).startswith("--set model: n_heads ")


def test_model_that_fits_the_machine_is_planned(tmp_path: Path) -> None:
    assert plan(tmp_path, factors("{model.n_layers: [1, 65]}")).cells[1].counts.parameters == 65 * 3136 + 112


def test_model_of_too_many_modules_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "LARGEST_MODULES", 1000)
    experts = "model.feedforward={name: moe, n_experts: 5000}"
    assert "modules; at most 1,000 are allowed" in refusal(tmp_path, factors("{model.n_layers: [1, 900]}"))
    assert "more than 1,000 modules" in refusal(tmp_path, factors("{model.norm: [layer_norm]}"), experts)


BROKEN = '''
"""Components whose constructors fail."""
from ablation import Monitor, Optimizer, Schedule, register


@register("optimizer", "brittle")
class Brittle(Optimizer):
    """An optimizer."""

    def __init__(self, *, lr: float = 1.0, fails: str = "no"):
        super().__init__()
        self.fails = fails
        if fails == "constructor":
            raise ValueError("no such rate")

    def build(self, model):
        if self.fails == "build":
            raise KeyError("weights")


@register("schedule", "brittle")
class BrittleSchedule(Schedule):
    """A schedule that ends the process."""

    def __init__(self):
        raise SystemExit(3)
'''


def test_component_that_cannot_be_built_is_refused_at_its_line(tmp_path: Path, scratch_registry: Any) -> None:
    from ablation.plugins import load_plugins

    (tmp_path / "brittle.py").write_text(BROKEN)
    load_plugins([tmp_path / "brittle.py"])
    name = "{name: brittle, fails: %s}"
    levels = factors(f"{{optimizer: [adamw, {name % 'constructor'}]}}")
    assert "grid.yaml:3:30: optimizer: no such rate" in refusal(tmp_path, levels)
    levels = factors(f"{{optimizer: [adamw, {name % 'build'}]}}")
    assert "grid.yaml:3:30: optimizer: KeyError: 'weights' (brittle.py:18)" in refusal(tmp_path, levels)
    assert "--set schedule: SystemExit: 3 (brittle.py:26)" in refusal(
        tmp_path, factors("{model.norm: [layer_norm]}"), "schedule=brittle"
    )


def test_precision_that_the_machine_cannot_do_is_refused(tmp_path: Path) -> None:
    grid = factors("{training.precision: [32-true, 16-mixed]}")
    assert "grid.yaml:3:41: training.precision: 16-mixed needs a GPU" in refusal(tmp_path, grid)


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = refusal(tmp_path, factors("{training.compile: [false, true]}"))
    assert "grid.yaml:3:37: training.compile: on a CPU it needs the C++ compiler no-such-compiler" in message
