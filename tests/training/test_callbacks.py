"""Callbacks of plug-ins: they are called, they are part of what a run is, and they go on exactly."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
from safetensors.torch import load_file
from support.resume import interrupted
from support.small_grids import Ablate, small_config, write_grid

from ablation.config.identity import run_id, run_identity
from ablation.errors import InputError
from ablation.plugins import load_plugins
from ablation.training.callbacks import CallbackStates
from ablation.training.run import train

PLUGIN = '''
"""Callbacks."""

import lightning.pytorch as lightning
import torch

from ablation import register


@register("callback", "clamp")
class Clamp(lightning.Callback):
    """Weights within a limit that falls (weight clipping)."""

    def __init__(self, *, limit: float = 0.1):
        self.limit, self.calls, self.largest = limit, 0, None

    @torch.no_grad()
    def on_train_batch_end(self, trainer, learner, outputs, batch, index):
        self.calls += 1
        limit = self.limit * (1 + 1 / self.calls)
        weights = list(learner.model.parameters())
        largest = torch.stack([weight.abs().amax() for weight in weights]).amax()
        self.largest = largest if self.largest is None else 0.5 * (self.largest + largest)
        for weight in weights:
            weight.clamp_(-limit - 1e-3 * float(self.largest), limit)


@register("callback", "noise")
class Noise(lightning.Callback):
    """Noise on gradients (Neelakantan et al. 2015), with a state of its own."""

    def __init__(self):
        self.generators = [torch.Generator().manual_seed(7)]

    def state_dict(self):
        return {"random": self.generators[0].get_state()}

    def load_state_dict(self, state):
        self.generators[0].set_state(state["random"])

    def on_before_optimizer_step(self, trainer, learner, optimizer):
        for weight in learner.model.parameters():
            if weight.grad is not None:
                weight.grad += 0.1 * torch.randn(weight.shape, generator=self.generators[0])


@register("callback", "constant")
class Constant(lightning.Callback):
    """Every weight is a quarter."""

    def on_train_batch_end(self, trainer, learner, outputs, batch, index):
        for weight in learner.model.parameters():
            weight.data.fill_(0.25)


@register("callback", "ending")
class Ending(lightning.Callback):
    """Ends a run after a step."""

    def __init__(self, *, step: int = 4, at: str = "on_train_batch_end"):
        self.step, self.at = step, at

    def end(self, trainer, at):
        if at == self.at and trainer.global_step >= self.step:
            trainer.should_stop = True

    def on_train_batch_start(self, trainer, *_):
        self.end(trainer, "on_train_batch_start")

    def on_train_batch_end(self, trainer, *_):
        self.end(trainer, "on_train_batch_end")

    def on_validation_end(self, trainer, *_):
        self.end(trainer, "on_validation_end")


@register("callback", "careless")
class Careless(lightning.Callback):
    """Holds what no checkpoint can hold."""

    def __init__(self):
        self.file = open


@register("callback", "broken")
class Broken:
    """Is no callback."""
'''


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, scratch_registry: Any) -> Iterator[Path]:
    file = tmp_path / "callbacks.py"
    file.write_text(PLUGIN)
    load_plugins([file])
    yield file


def trained(directory: Path, settings: dict[str, Any]) -> dict[str, Any]:
    directory.mkdir()
    return train(small_config(settings), directory)


def test_callback_changes_what_is_trained(tmp_path: Path) -> None:
    trained(tmp_path / "plain", {})
    trained(tmp_path / "clamped", {"training.callbacks": [{"name": "clamp", "limit": 0.05}]})
    plain, clamped = (
        max(float(tensor.abs().max()) for tensor in load_file(tmp_path / name / "weights.safetensors").values())
        for name in ("plain", "clamped")
    )
    assert plain > 0.5 > 0.1 > clamped


def test_average_is_of_the_weights_that_a_callback_leaves(tmp_path: Path) -> None:
    settings = {"training.ema_decay": 1e-9, "optimizer.lr": 0.1, "training.callbacks": ["constant"]}
    trained(tmp_path / "run", settings)
    for tensor in load_file(tmp_path / "run" / "weights.safetensors").values():
        assert float((tensor - 0.25).abs().max()) < 1e-6


def test_callback_is_called_with_gradients_before_clipping(tmp_path: Path) -> None:
    norms = {}
    for name, callbacks in (("plain", []), ("noisy", ["noise"])):
        result = trained(tmp_path / name, {"training.callbacks": callbacks, "training.gradient_clip": 0.01})
        norms[name] = result["stability"]["gradient_norm_median"]
    n_numbers = result["efficiency"]["parameters"]
    assert norms["noisy"] == pytest.approx((norms["plain"] ** 2 + 0.01 * n_numbers) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    "callbacks", [["clamp"], ["noise"], ["noise", {"name": "clamp", "limit": 0.2}]], ids=["attributes", "state", "both"]
)
@pytest.mark.parametrize("ema_decay", [None, 0.8])
def test_interrupted_run_with_callbacks_goes_on_exactly(callbacks: Any, ema_decay: Any, tmp_path: Path) -> None:
    settings = {"training.callbacks": callbacks, "training.ema_decay": ema_decay}
    whole = interrupted(tmp_path / "whole", settings)
    for number, at in enumerate([[1], [3], [6, 11], range(1, 12)]):
        assert interrupted(tmp_path / f"parts{number}", settings, at) == whole


@pytest.mark.parametrize("at", ["on_train_batch_start", "on_train_batch_end", "on_validation_end"])
def test_run_that_a_callback_ends_says_so(at: str, tmp_path: Path) -> None:
    settings = {"training.max_steps": 12, "training.evaluate_every": 2}
    ending = [{"name": "ending", "step": 4, "at": at}]
    result = trained(tmp_path / "ended", {**settings, "training.callbacks": ending})
    step = 5 if at == "on_train_batch_start" else 4  # asked before the next one
    reason = "one of training.callbacks ended it"
    assert result["record"]["stopped_early"] == {"step": step, "of": 12, "reason": reason}
    assert result["efficiency"]["steps"] == step
    rows = [json.loads(line) for line in (tmp_path / "ended" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == step and rows[-1]["validation/loss"] == result["quality"]["final"]["loss"]
    assert (tmp_path / "ended" / "example_losses.npy").exists()


def test_what_no_checkpoint_can_hold_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="callback Careless: file is a builtin_function_or_method, which no checkpoint"):
        trained(tmp_path / "run", {"training.callbacks": ["careless"]})


def identity(callbacks: list[Any]) -> str:
    return run_id(run_identity(small_config({"training.callbacks": callbacks}), None))


def test_callbacks_are_part_of_what_a_run_is() -> None:
    plain = run_id(run_identity(small_config(), None))
    assert identity([]) == plain
    different = [["clamp"], [{"name": "clamp", "limit": 0.2}], ["noise"], ["noise", "clamp"], ["clamp", "noise"]]
    assert len({plain, *map(identity, different)}) == len(different) + 1
    assert identity([{"name": "clamp", "limit": 0.1}]) == identity(["clamp"])


@pytest.mark.parametrize(
    ("callbacks", "refused"),
    [
        (
            ["clam"],
            "training.callbacks[0]: 'clam' is not a callback; allowed: clamp, noise, constant, ending, careless",
        ),
        ([{"name": "clamp", "limits": 1.0}], "unknown key 'limits' of the callback 'clamp'; allowed: limit"),
        (["clamp", {"name": "clamp", "limit": 0.2}], "training.callbacks[1]: 'clamp' is there twice"),
        (["broken"], "training.callbacks[0]: Broken is no subclass of lightning.pytorch.Callback"),
    ],
)
def test_what_is_no_callback_is_refused_by_the_plan(
    ablate: Ablate, plugin: Path, callbacks: Any, refused: str, tmp_path: Path
) -> None:
    grid = write_grid(tmp_path, settings={"training.callbacks": callbacks})
    answer = ablate("plan", grid, "--plugin", plugin)
    assert answer.code == 2 and refused in answer.err


def test_callback_without_a_plugin_is_refused(scratch_registry: Any) -> None:
    scratch_registry["callback"].clear()
    from ablation.config.experiment import rebuild

    rebuild()
    with pytest.raises(InputError, match=r"training.callbacks\[0\]: 'mine': there is no callback but from plugins"):
        small_config({"training.callbacks": ["mine"]})
    assert small_config({"training.callbacks": []}).training.callbacks == ()


def test_cells_differ_in_a_callback(ablate: Ablate, plugin: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, {"training.callbacks": [[], ["clamp"], [{"name": "clamp", "limit": 0.2}]]})
    cells = ablate("plan", grid, "--plugin", plugin, "--json").json["cells"]
    assert len({cell["label"] for cell in cells}) == 3


def test_callbacks_whose_classes_have_one_name_keep_their_own_states() -> None:
    def made(value: int) -> lightning.Callback:
        class Same(lightning.Callback):
            def __init__(self) -> None:
                self.value = value

        return Same()

    kept = CallbackStates([made(1), made(2)]).state_dict()
    others = [made(0), made(0)]
    CallbackStates(others).load_state_dict(kept)
    assert [vars(each)["value"] for each in others] == [1, 2]
