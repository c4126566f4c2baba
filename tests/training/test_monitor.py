"""What is observed of a run: each number against another way to it, and no number of the run changed by it."""

import json
import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from support.small_grids import numbers, small_config
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

from ablation.components.block import Block
from ablation.config.experiment import rebuild
from ablation.config.identity import run_identity
from ablation.config.layered import dump, load
from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.plugins import load_plugins
from ablation.registry import REGISTRY, register
from ablation.tasks.base import IGNORED
from ablation.training.batches import TrainingBatches
from ablation.training.divergence import detect_divergence
from ablation.training.monitor.activations import Activations, AttentionLogits, LogZ
from ablation.training.monitor.base import Monitor, TrainingHistory, slope
from ablation.training.monitor.gradients import GradientNorms
from ablation.training.monitor.spikes import LossSpikes, count_spikes
from ablation.training.run import train

Run = Callable[..., dict[str, Any]]
STILL = {"optimizer": {"name": "adamw", "lr": 1e-30, "weight_decay": 0.0}}
"""Weights stay what they were."""
DOUBLE = {"training.precision": "64-true", "model.dropout": 0.0, "model.n_layers": 3}
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run({path: value})``: the numbers of one run of the small configuration, and its weights as bytes."""
    count = iter(range(1000))

    def run(settings: dict[str, Any] | None = None) -> dict[str, Any]:
        directory = tmp_path / f"run{next(count)}"
        directory.mkdir()
        result = train(small_config(settings), directory)
        (directory / "result.json").write_text(json.dumps({"id": "", **result}, allow_nan=False))
        weights = [file.read_bytes() for file in sorted(directory.glob("*.safetensors"))]
        return {**numbers(directory), "weights": weights}

    return run


def start_of(config: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model before its first step, in float64, and the first batch."""
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes).double()
    return model, next(iter(TrainingBatches(task, config.seed, 1))).examples


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    logits = model(batch["tokens"])
    return cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED)


@torch.no_grad()
def seen(monitor: Monitor, model: nn.Module, **texts: Tensor) -> dict[str, float]:
    """What a monitor measures in one pass."""
    handles = list(monitor.register_hooks(model))
    scores = model(**texts)
    for handle in handles:
        handle.remove()
    return monitor.measure(model, 1, scores.flatten(0, -2))


def history(losses: list[float] | None = None, norms: list[float] | None = None, **more: Any) -> TrainingHistory:
    known = {"gradient_clip": 1.0, "n_warmup": 0, "max_steps": 100, **more}
    return TrainingHistory(losses or [], norms or [], **known)


# Nothing is changed.


def without_stability(numbers: dict[str, Any]) -> dict[str, Any]:
    rows = [row for row in numbers["rows"] if not any(key.startswith("stability/") for key in row)]
    return {**numbers, "rows": rows, "stability": None}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model.feedforward": {"name": "moe"}, "training.accumulate": 2},
        {"model.norm": "batch_norm"},
        {"model.mixer": {"name": "attention", "dropout": 0.3, "value_residual": True}, "model.n_layers": 2},
    ],
    ids=["plain", "experts", "batch_norm", "attention"],
)
def test_monitors_change_no_number_or_weight_of_a_run(
    run: Run, settings: dict[str, Any], scratch_registry: Any
) -> None:
    @register("monitor", "drawing")
    class Drawing(Monitor):
        """Draws random numbers where it can."""

        def before_update(self, model: nn.Module, step: int, is_measured: bool) -> None:
            torch.rand(3)

        def measure(self, model: nn.Module, step: int, scores: Tensor | None) -> dict[str, float]:
            return {"drawn": torch.rand(3).sum().item()}

    rebuild()
    settings = {"model.dropout": 0.5, "training.log_every": 1, **settings}
    everything = [*REGISTRY["monitor"]]
    blind = run({**settings, "training.monitors": []})
    often = run({**settings, "training.monitors": everything, "training.monitor_every": 1})
    assert without_stability(often) == without_stability(blind)
    assert blind["weights"] and len(often["rows"]) == len(blind["rows"]) + 6
    assert blind["stability"].keys() == {"diverged", "diverged_at_step", "initial_loss"}


def test_monitoring_frequency_changes_no_number_of_a_run(run: Run) -> None:
    often, seldom = run({"training.monitor_every": 2}), run({"training.monitor_every": 100})
    assert without_stability(often) == without_stability(seldom)
    assert often["stability"]["activation_by_depth"] == seldom["stability"]["activation_by_depth"], "of the last look"


def test_compiled_model_is_observed_like_any_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    settings = {"training.monitor_every": 2, "model.dropout": 0.0}
    compiled, plain = (run({**settings, "training.compile": compiles}) for compiles in (True, False))
    assert compiled["stability"]["attention_logit_max"] is not None
    assert compiled["stability"] == plain["stability"]
    assert compiled["rows"] == plain["rows"]


def test_modules_are_in_training_mode_after_monitoring(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[tuple[bool, bool]] = []
    original = Block.__call__

    def noting(block: Block, *arguments: Any) -> Tensor:
        modes.append((block.training, torch.is_grad_enabled()))
        return original(block, *arguments)

    monkeypatch.setattr(Block, "__call__", noting)
    run({"training.monitor_every": 1, "training.max_steps": 3, "training.evaluate_every": 3})
    assert modes[:6] == [(True, True), (False, False)] * 3
    assert not any(training for training, _ in modes[6:])


# When.


def test_measurements_follow_their_interval_and_count_tokens(run: Run) -> None:
    found = run({"training.max_steps": 8, "training.monitor_every": 3, "training.log_every": 8})
    rows = [row for row in found["rows"] if "stability/log_z" in row]
    assert [row["step"] for row in rows] == [3, 6, 8]
    assert [row["tokens"] for row in rows] == [step * 4 * 8 for step in (3, 6, 8)]
    assert {key for row in rows for key in row} - {"step", "tokens"} == {
        "stability/activation_rms_max",
        "stability/attention_logit_max",
        "stability/log_z",
        "stability/update_ratio",
    }


def test_no_pass_is_made_without_a_monitor_that_needs_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ablation.training.monitoring import MonitorCallback

    def refuse(*_: Any) -> None:
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(MonitorCallback, "monitored_forward", refuse)
    found = run({"training.monitors": ["gradients", "gradient_by_depth", "update_ratio", "loss_spikes"]})
    assert found["stability"]["update_ratio_median"] > 0


# The right numbers.


def test_gradient_of_each_block_equals_autograd_at_the_first_step(run: Run) -> None:
    found = run({**DOUBLE, "training.gradient_clip": 1e-3})["stability"]  # they are those before clipping
    model, batch = start_of(small_config(DOUBLE))
    expected = []
    for block in model.stack.blocks:
        gradients = torch.autograd.grad(loss_of(model, batch), list(block.parameters()))
        expected.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
    assert found["gradient_by_depth"] == pytest.approx(expected, rel=1e-9)
    assert found["gradient_growth"] == pytest.approx(numpy.polyfit(range(3), numpy.log(expected), 1)[0], rel=1e-6)
    assert found["initial_loss"] == pytest.approx(float(loss_of(model, batch).detach()), rel=1e-9)


def test_update_ratio_equals_one_step_by_hand(run: Run) -> None:
    settings = {**DOUBLE, "training.max_steps": 1, "training.gradient_clip": None}
    settings |= {"optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.3}}
    settings |= {"schedule": {"name": "constant", "warmup_ratio": 0.0}}
    model, batch = start_of(small_config(settings))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    ratios = []
    for w, g in zip(matrices, torch.autograd.grad(loss_of(model, batch), matrices), strict=True):
        moved = -3e-3 * (0.3 * w + g / (g.abs() + 1e-8))  # the first step of Adam: its moments are g and g^2
        ratios.append(float((moved.norm() / w.norm()).detach()))
    assert run(settings)["stability"]["update_ratio_median"] == pytest.approx(statistics.median(ratios), rel=1e-6)


def test_log_z_is_that_of_the_scores_that_enter_the_loss(run: Run) -> None:
    settings = {**DOUBLE, **STILL, "training.max_steps": 1, "task.batch_size": 6}
    model, batch = start_of(small_config(settings))
    exponentials = model.eval()(batch["tokens"][:4]).detach().exp().sum(-1).log()
    asked = batch["targets"][:4] != IGNORED
    assert 0 < int(asked.sum()) < asked.numel(), "else the test says less"
    assert run(settings)["stability"]["log_z"] == pytest.approx(float(exponentials[asked].mean()), rel=1e-9)


def test_log_z_growth_compares_ends_of_the_last_half() -> None:
    monitor = LogZ()
    for step in (10, 50, 100):
        monitor.measure(nn.Identity(), step, torch.full((2, 1), float(step)))
    assert monitor.summary(history()) == {"log_z": 100.0, "log_z_growth": 50.0}
    assert LogZ().summary(history()) == {"log_z": None, "log_z_growth": None}


def test_activations_are_the_root_mean_squares_along_the_stack(run: Run) -> None:
    settings = {**DOUBLE, **STILL, "training.max_steps": 1}
    model, batch = start_of(small_config(settings))
    outputs: list[Tensor] = []
    with torch.no_grad():
        for depth in range(1, 4):  # a model of the first blocks only ends where they end
            whole, _ = start_of(small_config({**settings}))
            whole.load_state_dict(model.state_dict())
            whole.stack.blocks, whole.stack.norm = whole.stack.blocks[:depth], nn.Identity()
            whole.stack.position_indices = whole.stack.position_indices[:depth]
            whole.readout.forward = lambda x, embedding: outputs.append(x) or x
            whole.eval()(batch["tokens"])
    expected = [float(x.square().mean().sqrt()) for x in outputs]
    assert run(settings)["stability"]["activation_by_depth"] == pytest.approx(expected, rel=1e-9)


def test_activations_are_of_tokens_and_not_of_padding(make_model: Any) -> None:
    model = make_model()
    padding = torch.ones_like(TOKENS, dtype=torch.bool)
    padding[:, 7:] = False
    padded, short = Activations(), Activations()
    seen(padded, model, tokens=TOKENS, padding=padding)
    seen(short, model, tokens=TOKENS[:, :7])
    assert padded.last == pytest.approx(short.last, rel=1e-9)


def test_largest_attention_logit_is_that_of_the_weights_by_hand(make_model: Any) -> None:
    model = make_model({"model.position": "learned", "model.n_layers": 1, "model.n_heads": 2})
    block = model.stack.blocks[0]
    with torch.no_grad():
        x = block.norms[0](model.embedding(TOKENS, model.stack.position, torch.arange(12)))
    mixer, largest = block.sublayers[0], -math.inf
    q, k = (x @ linear.weight.T.detach() for linear in (mixer.query, mixer.key))
    for text in range(3):
        for head in (slice(0, 8), slice(8, 16)):
            for i in range(12):
                for j in range(i + 1):
                    largest = max(largest, float(q[text, i, head] @ k[text, j, head]) / math.sqrt(8))
    found = seen(AttentionLogits(), model, tokens=TOKENS)
    assert found["attention_logit_max"] == pytest.approx(largest, rel=1e-9)


class Scores(TorchFunctionMode):
    """Notes the largest of what enters a softmax over four axes, that of attention written out."""

    largest = -math.inf

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.softmax and args[0].dim() == 4:
            self.largest = max(self.largest, float(args[0].detach().max()))
        return function(*args, **(kwargs or {}))


ATTENDING = {
    "grouped": {"model.n_kv_heads": 2},
    "alibi": {"model.position": "alibi"},
    "capped": {"model.mixer": {"name": "attention", "soft_cap": 0.5}},
    "window": {"model.mixer": {"name": "attention", "window": 3}},
    "shaw": {"model.mixer": "shaw", "model.position": "none"},
    "latent": {"model.mixer": "latent", "model.position": "none"},
    "differential": {"model.mixer": "differential"},
    "disentangled": {"model.mixer": "disentangled", "model.position": "none"},
    "transformer_xl": {"model.mixer": "transformer_xl", "model.position": "none"},
    "encoder_decoder": {"model.architecture": "encoder_decoder"},
}


@pytest.mark.parametrize("name", ATTENDING)
@pytest.mark.parametrize("at_once", [2**22, 1])
def test_largest_attention_logit_is_the_input_of_the_softmax(
    name: str, at_once: int, make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablation.training.monitor.activations.CHUNK_SIZE", at_once)
    settings = dict(ATTENDING[name])
    mixer = settings.get("model.mixer", "attention")
    mixer = dict(mixer) if isinstance(mixer, dict) else {"name": mixer}
    fused = "sdpa" if name != "capped" else "manual"
    backends = [None] if name == "shaw" else [fused, "manual"]
    sources = {"source": TOKENS.flip(1)} if name == "encoder_decoder" else {}
    found, expected = [], -math.inf
    for backend in backends:
        model = make_model({**settings, "model.mixer": {**mixer, **({"backend": backend} if backend else {})}})
        found.append(seen(AttentionLogits(), model, tokens=TOKENS, **sources)["attention_logit_max"])
        with Scores() as scores, torch.no_grad():
            model(tokens=TOKENS, **sources)
        expected = scores.largest
    assert math.isfinite(expected)
    assert found == pytest.approx([expected] * len(found), rel=1e-9)


def test_mixer_that_does_not_attend_has_no_attention_logits(run: Run) -> None:
    found = run({"model.mixer": "gru", "model.position": "none"})
    assert found["stability"]["attention_logit_max"] is None
    assert found["stability"]["attention_logit_growth"] is None
    assert not any("stability/attention_logit_max" in row for row in found["rows"])


def test_attention_logit_growth_is_the_slope_of_its_logarithm() -> None:
    monitor, generator = AttentionLogits(), numpy.random.default_rng(0)
    values = numpy.exp(generator.normal(size=20))
    for step, value in enumerate(values, 1):
        monitor.series.add(50 * step, float(value))
    steps = numpy.arange(500, 1001, 50)
    expected = numpy.polyfit(steps / 1000, numpy.log(values[9:]), 1)[0]
    summary = monitor.summary(history(max_steps=1000))
    assert summary["attention_logit_growth"] == pytest.approx(expected)
    assert summary["attention_logit_max"] == max(values)
    assert monitor.summary(history(max_steps=1900))["attention_logit_growth"] is None, "two measurements are too few"


def test_slope_is_that_of_least_squares() -> None:
    x, y = numpy.random.default_rng(0).normal(size=(2, 9))
    assert slope(list(zip(x, y, strict=True))) == pytest.approx(numpy.polyfit(x, y, 1)[0])
    assert slope([(1.0, 2.0)]) is None


def test_gradient_norms_are_summarized_and_clipping_after_warmup() -> None:
    norms = [50.0, 3.0, 0.5, 1.0, 2.0, math.inf, 0.25]
    found = GradientNorms().summary(history(norms=norms, n_warmup=2))
    assert found["gradient_norm_median"] == 1.5
    assert found["gradient_norm_max"] == 50.0
    assert found["gradient_norm_tail"] == pytest.approx(50 / 1.5)
    assert found["clipped_fraction"] == 1 / 4
    assert GradientNorms().summary(history(norms=norms, gradient_clip=None))["clipped_fraction"] == 0.0
    assert GradientNorms().summary(history())["gradient_norm_tail"] is None


# Spikes.


def noisy(n: int, *, fall: float = 3.0, noise: float = 0.05, seed: int = 0) -> list[float]:
    """A loss that falls from 1.5 + fall to 1.5, fast at first."""
    steps = numpy.arange(n)
    return list(1.5 + fall * numpy.exp(-20 * steps / n) + noise * numpy.random.default_rng(seed).normal(size=n))


def spikes_written_out(losses: list[float]) -> int:
    size, count = min(1000, len(losses) // 10) // 2 * 2, 0
    for i in range(size, len(losses)):
        before = losses[i - size : i]
        middle = statistics.median_low(before)
        trend = statistics.median_low(before[size // 2 :]) - statistics.median_low(before[: size // 2])
        trend /= size / 2
        line = [middle + trend * (j - (size - 1) / 2) for j in range(size + 1)]
        away = statistics.median_low([abs(loss - on) for loss, on in zip(before, line[:-1], strict=True)])
        count += losses[i] - line[-1] >= 7 * max(1.4826 * away, 1e-3 * losses[0])
    return count


@pytest.mark.parametrize("at_once", [2**22, 1])
def test_spikes_equal_those_counted_by_hand(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.training.monitor.spikes.CHUNK_SIZE", at_once)
    losses = [
        loss + 0.05 * abs(x)
        for loss, x in zip(noisy(400), numpy.random.default_rng(1).standard_cauchy(400), strict=True)
    ]
    assert count_spikes(losses) == spikes_written_out(losses) > 3


def test_upward_jumps_are_spikes_and_falling_loss_has_none() -> None:
    losses = noisy(600)
    found = LossSpikes().summary(history(losses))
    assert found == {"spikes": 0, "spike_score": 0.0}
    for step in (200, 201, 400):
        losses[step] += 2.0
    losses[500] -= 2.0
    assert LossSpikes().summary(history(losses)) == {"spikes": 3, "spike_score": 3 / 540}


@pytest.mark.parametrize("slope", [-0.002, 0.002, -0.0004, 0.0])
def test_spikes_are_measured_from_the_extrapolated_trend(slope: float) -> None:
    """On a straight line all is known: the lower one of two medians lies half a step below it, so every distance is
    half a step, and so much lower than the line is what is expected of the next loss.
    """
    line = [1 + slope * step for step in range(400)]
    least = 7 * max(1.4826 * abs(slope) / 2, 1e-3) - abs(slope) / 2
    for share, expected in ((0.97, 0), (1.03, 1)):
        losses = [*line[:200], line[200] + share * least, *line[201:]]
        assert count_spikes(losses) == expected


def test_constant_loss_has_no_spikes_and_short_run_no_score() -> None:
    assert count_spikes([2.0] * 300) == 0
    assert count_spikes([0.0] * 300) == 0
    assert count_spikes(noisy(299)) is None
    assert LossSpikes().summary(history(noisy(10))) == {"spikes": None, "spike_score": None}


# Divergence.


def test_loss_that_comes_back_up_for_good_has_diverged() -> None:
    losses = [*noisy(600), *(numpy.linspace(1.5, 3.5, 100) + 0.05), *noisy(100, fall=0, seed=1)]
    losses[700:] = [loss + 2.0 for loss in losses[700:]]
    found = detect_divergence(losses)
    assert found is not None
    assert 650 < found.step < 720
    assert "rose for good" in found.reason and "\n" not in found.reason
    assert detect_divergence(losses[:650]) is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [20, 40, 100, 1000])
def test_noise_is_no_divergence(seed: int, n: int) -> None:
    generator = numpy.random.default_rng(seed)
    assert detect_divergence(noisy(n, fall=0.0, noise=0.3, seed=seed)) is None, "it never falls"
    assert detect_divergence(noisy(n, fall=0.1, noise=0.3, seed=seed)) is None, "it hardly falls"
    assert detect_divergence(noisy(n, fall=3.0, noise=0.5, seed=seed)) is None
    assert detect_divergence(list(2 + 0.2 * generator.standard_t(2, size=n))) is None, "heavy tails"
    assert detect_divergence([1e-4 + (0.05 if x > 0.9 else 0.0) + (x < 0.1) * 0.2 for x in generator.random(n)]) is None


def test_one_bad_batch_is_no_divergence() -> None:
    for place in (0, 300, -1):
        losses = noisy(600)
        losses[place] = 1e6
        assert detect_divergence(losses) is None, place
    losses = noisy(600)
    losses[300] = -1e6
    assert detect_divergence(losses) is None


def test_rising_loss_diverged_and_constant_loss_did_not() -> None:
    assert detect_divergence(list(numpy.linspace(2.3, 50.0, 100))) is not None
    assert detect_divergence([2.3] * 100) is None
    assert detect_divergence([2.3, 2.3, 9.0]) is None, "three steps say nothing"


def test_run_with_risen_loss_is_diverged_and_keeps_its_numbers(run: Run, scratch_registry: Any, tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text(
        '"""A learning rate that breaks loose."""\nfrom ablation import Schedule, register\n\n\n'
        '@register("schedule", "late")\nclass Late(Schedule):\n    """1, and in the end far more."""\n\n'
        "    def __init__(self):\n        super().__init__(warmup_ratio=0.0)\n\n"
        "    def factor(self, step, n_steps):\n        return 1.0 if step < 90 else 100.0\n"
    )
    load_plugins([file])
    settings = {"schedule": "late", "training.max_steps": 120, "training.evaluate_every": 30, "model.dropout": 0.0}
    found = run({**settings, "optimizer": {"name": "adamw", "lr": 1e-2}})
    assert found["status"] == "diverged"
    assert "rose for good" in found["reason"]
    assert found["stability"]["diverged"] is True
    assert 90 <= found["stability"]["diverged_at_step"] <= 100
    assert math.isfinite(found["quality"]["final"]["loss"])
    assert [row["step"] for row in found["rows"] if "validation/loss" in row] == [30, 60, 90, 120]
    assert run({"training.max_steps": 30})["status"] == "completed"


def test_mean_of_the_last_scores_is_of_three_at_most(run: Run) -> None:
    found = run({"training.max_steps": 10, "training.evaluate_every": 2, "optimizer": {"name": "adamw", "lr": 0.1}})
    rows = [row for row in found["rows"] if "validation/loss" in row]
    assert len(rows) == 5
    for name, value in found["quality"]["mean_last"].items():
        assert value == pytest.approx(statistics.fmean(row[f"validation/{name}"] for row in rows[-3:]))
    assert found["quality"]["mean_last"].keys() == found["quality"]["final"].keys()
    one = run({"training.max_steps": 1})["quality"]
    assert one["mean_last"] == one["final"]


# In the configuration.


def test_monitors_are_no_part_of_what_a_run_is() -> None:
    plain = small_config()
    other = small_config({"training.monitors": ["log_z"], "training.monitor_every": 7})
    assert run_identity(plain, None) == run_identity(other, None)
    assert [monitor.name for monitor in plain.training.monitors] == sorted(REGISTRY["monitor"])
    assert load(dump(other)) == other


def test_list_of_components_takes_names_and_mappings() -> None:
    config = small_config({"training.monitors": ["log_z", {"name": "gradients"}]})
    assert [monitor.name for monitor in config.training.monitors] == ["log_z", "gradients"]
    assert small_config({"training.monitors": []}).training.monitors == ()


ALLOWED = "activations, attention, gradient_by_depth, gradients, log_z, loss_spikes, update_ratio"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["log_z", "attentionn"],
            f"training.monitors[1]: 'attentionn' is not a monitor; allowed: {ALLOWED}; did you mean 'attention'?",
        ),
        (["log_z", 5], f"training.monitors[1]: 5 is not a monitor; allowed: {ALLOWED}"),
        ([{"nam": "log_z"}], f"training.monitors[0]: a mapping needs a `name`; allowed: {ALLOWED}"),
        (
            [{"name": "log_z", "x": 1}],
            "training.monitors[0].x: unknown key 'x'; the monitor 'log_z' has no hyper-parameters",
        ),
        ("log_z", "training.monitors: must be a list, not 'log_z'"),
    ],
)
def test_error_in_a_list_of_components_is_located(given: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        small_config({"training.monitors": given})
    assert str(error.value).endswith(message)


PLUGIN = '''
"""How large the embedding is."""

from ablation import TrainingHistory, Monitor, register


@register("monitor", "table_norm", source="Nobody 1900")
class TableNorm(Monitor):
    """The norm of the first parameter."""

    def __init__(self, *, power: float = 2.0):
        self.power, self.seen = power, []

    def measure(self, model, step, scores):
        self.seen.append(next(model.parameters()).norm(self.power).item())
        return {"table_norm": self.seen[-1]}

    def summary(self, history: TrainingHistory):
        return {"table_norm": float("nan") if self.power == 1.0 else self.seen[-1], "steps": len(history.losses)}
'''


def test_monitor_in_a_file_of_its_own_is_one_like_any_other(run: Run, scratch_registry: Any, tmp_path: Path) -> None:
    file = tmp_path / "table_norm.py"
    file.write_text(PLUGIN)
    load_plugins([file])
    found = run({**DOUBLE, **STILL, "training.monitors": ["gradients", {"name": "table_norm", "power": 3}]})
    model, _ = start_of(small_config(DOUBLE))
    expected = float(next(model.parameters()).detach().norm(3.0))
    assert found["stability"]["table_norm"] == pytest.approx(expected)
    assert found["stability"]["steps"] == 6
    assert found["rows"][-1]["step"] == 6
    assert any(row.get("stability/table_norm") == pytest.approx(expected) for row in found["rows"])
    nothing = run({"training.monitors": [{"name": "table_norm", "power": 1.0}]})
    assert nothing["stability"]["table_norm"] is None, "what is not finite is null"
