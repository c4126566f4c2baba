"""Steps taken apart: with a clock that the work itself turns; and on real models, whose parts make up the whole."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from support.small_grids import BASE, Ablate, write_grid
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ablation.bench.flame import draw
from ablation.bench.profile import (
    BACKWARD,
    FORWARD,
    LOSS,
    OPTIMIZER,
    compare_compiled,
    of_kind,
    profile_decoding,
    profile_training_step,
    tree,
    typical,
)
from ablation.bench.recorder import Frame, Recorder
from ablation.bench.scopes import KINDS, frames, profiled
from ablation.bench.target import BenchTarget

M, LAYERS, TOKENS = 16, 2, 4 * 12


class Work:
    """A clock that moves only when ``Costly`` works."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def __call__(self, x: Tensor, forward: float, backward: float) -> Tensor:
        return Costly.apply(x, self, forward, backward)


class Costly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, work: Work, forward: float, backward: float) -> Tensor:
        ctx.work, ctx.cost = work, backward
        work.now += forward
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.work.now += ctx.cost
        return gradient, None, None, None


def test_time_counts_for_innermost_scope_and_backward_for_its_node():
    work, a, b, inner = Work(), Frame("a"), Frame("b"), Frame("inner")
    recorder = Recorder(work.clock)
    weight = torch.ones(3, requires_grad=True)
    recorder.begin()
    with recorder.scope(FORWARD):
        x = work(weight * 2, 0.5, 5.0)
        with recorder.scope(a):
            x = work(x, 1.0, 10.0)
            with recorder.scope(inner):
                x = work(x, 2.0, 20.0)
            x = work(x, 4.0, 40.0)
        with recorder.scope(b):
            loss = work(x * weight, 8.0, 80.0).sum()
    recorder.backward(loss, BACKWARD)
    work.now += 100.0
    recorder.charge(())
    spent = {path: value for path, value in recorder.spent.items() if value}
    assert spent == {
        (): 100.0,
        (FORWARD,): 0.5,
        (FORWARD, a): 5.0,
        (FORWARD, a, inner): 2.0,
        (FORWARD, b): 8.0,
        (BACKWARD,): 5.0,
        (BACKWARD, a): 50.0,
        (BACKWARD, a, inner): 20.0,
        (BACKWARD, b): 80.0,
    }
    assert sum(spent.values()) == work.now


def test_laying_the_hooks_is_not_charged():
    work = Work()

    class Jumping(Recorder):
        def _charge_before(self, node: Any, frame: Frame) -> Any:
            work.now += 1000.0
            return super()._charge_before(node, frame)

    recorder = Jumping(work.clock)
    recorder.begin()
    with recorder.scope(FORWARD):
        loss = work(torch.ones(2, requires_grad=True), 1.0, 2.0).sum()
    recorder.backward(loss, BACKWARD)
    recorder.charge(())
    assert sum(recorder.spent.values()) == 3.0


def test_nested_scopes_include_what_is_inside_them():
    a, b = Frame("a", "norms"), Frame("b", "loss")
    nested = tree({(FORWARD,): 1.0, (FORWARD, a): 2.0, (FORWARD, a, b): 4.0, (BACKWARD, a): 8.0})
    assert [(scope["name"], scope["seconds"]) for scope in nested] == [("forward", 7.0), ("backward", 8.0)]
    assert nested[0]["inside"][0] == {
        "name": "a",
        "kind": "norms",
        "seconds": 6.0,
        "inside": [{"name": "b", "kind": "loss", "seconds": 4.0, "inside": []}],
    }


def test_step_that_was_held_up_is_left_out():
    steps = [{(FORWARD,): 1.0, (): 1.0}, {(FORWARD,): 3.0, (): 1.0}, {(FORWARD,): 1.0, (): 90.0}]
    assert typical(steps) == {(FORWARD,): 2.0, (): 1.0}


CASES = {
    "attention": {},
    "manual, biased": {"model.mixer": {"name": "attention", "backend": "manual"}, "model.position": "alibi"},
    "latent": {"model.mixer": "latent", "model.position": "none"},
    "lstm": {"model.mixer": "lstm", "model.position": "none"},
    "mamba": {"model.mixer": "mamba", "model.position": "none"},
    "encoder": {"model.architecture": "encoder", "task.name": "masked_text"},
    "parallel, moe": {"model.block": "parallel", "model.feedforward": "moe"},
}


@pytest.mark.parametrize("case", CASES)
def test_parts_of_a_training_step_add_up_to_it(case: str, configure: Any) -> None:
    target = BenchTarget(configure(CASES[case]))
    taken = profile_training_step(target, 2)
    parts = taken.parts()
    whole = sum(taken.seconds.values())
    assert sum(part["seconds"] for part in parts) == pytest.approx(whole)
    assert sum(part["fraction"] for part in parts) == pytest.approx(1.0)
    assert sum(part["flops_fraction"] for part in parts) == pytest.approx(1.0)
    assert all(part["seconds"] > 0 for part in parts)
    names = [part["part"] for part in parts]
    assert names == [kind for kind in KINDS if kind in names]
    assert {"embedding", "norms", "projections", "feedforward", "lm_head", "loss", "optimizer", "other"} <= set(names)
    assert sum(scope["seconds"] for scope in tree(taken.seconds)) <= whole
    assert {path[0] for path in taken.seconds if path} == {FORWARD, BACKWARD, OPTIMIZER}


@pytest.mark.parametrize("case", CASES)
def test_every_forward_scope_has_its_backward_one(case: str, configure: Any) -> None:
    taken = profile_training_step(BenchTarget(configure(CASES[case])), 1)
    forward = {path[1:] for path in taken.seconds if path[:1] == (FORWARD,)}
    backward = {path[1:] for path in taken.seconds if path[:1] == (BACKWARD,)}
    assert backward <= forward
    without = {path[-1].kind for path in forward - backward if path and path[-1].name != "qk_norm"}  # there is none
    assert without <= {"position", "other", "mixing"}  # what holds nothing to train, or only calls others
    assert (LOSS,) in backward


def test_flops_equal_those_of_the_step_by_scope(configure: Any) -> None:
    target = BenchTarget(configure({"model.tie_embeddings": False}))
    taken = profile_training_step(target, 1)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        target.training_step()
    assert sum(taken.flops.values()) == counter.get_total_flops()
    projections, feedforward = LAYERS * 4 * M * M, LAYERS * 2 * M * 4 * M
    assert of_kind(taken.flops, "projections") == 3 * 2 * projections * TOKENS  # backward does it twice again
    assert of_kind(taken.flops, "feedforward") == 3 * 2 * feedforward * TOKENS
    assert of_kind(taken.flops, "attention") == 3 * LAYERS * 2 * 2 * 4 * 12 * 12 * M
    assert of_kind(taken.flops, "lm_head") == 3 * 2 * target.task.vocabulary * M * TOKENS


def test_decoding_is_taken_apart_with_its_cache(configure: Any) -> None:
    target = BenchTarget(configure())
    taken = profile_decoding(target, 8, 2)
    assert {path[0] for path in taken.seconds if path} == {FORWARD}
    names = {part["part"] for part in taken.parts()}
    assert {"cache", "position", "attention", "projections", "feedforward"} <= names
    assert of_kind(taken.flops, "projections") == 2 * LAYERS * 4 * M * M
    with pytest.raises(ValueError, match="an encoder generates no text"):
        profile_decoding(BenchTarget(configure(CASES["encoder"])), 8, 1)


def test_profiled_model_is_unchanged(configure: Any) -> None:
    model = BenchTarget(configure({"model.position": "rope"})).model
    tokens = torch.zeros(1, 12, dtype=torch.long)
    before = model(tokens)
    recorder = Recorder(lambda: 0.0)
    recorder.begin()
    with profiled(model, recorder):
        assert torch.equal(model(tokens), before)
        assert recorder.path == ()
    assert torch.equal(model(tokens), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert "rotate" not in model.get_submodule("stack.position").__dict__


def test_blocks_and_their_parts_are_named_as_people_call_them(configure: Any) -> None:
    found = [frame for _, frame in frames(BenchTarget(configure()).model)]
    assert found[0] == Frame("embedding", "embedding")
    assert [frame.name for frame in found if frame.name.startswith("block")] == ["block 1", "block 2"]
    in_block = [(frame.name, frame.kind) for frame in found[2 : found.index(Frame("block 2"))]]
    assert ("mixer", "mixing") in in_block and ("query", "projections") in in_block
    assert ("backend", "attention") in in_block and ("feedforward", "feedforward") in in_block
    assert ("norm", "norms") in in_block and ("residual", "residual") in in_block


def test_failed_compilation_is_reported_in_one_line(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: nn.Module) -> nn.Module:
        class Broken(nn.Module):
            def forward(self, **inputs: Any) -> Tensor:
                raise RuntimeError("\nNo working C++ compiler found\nand much more")

        return Broken()

    monkeypatch.setattr(torch, "compile", refuse)
    target = BenchTarget(configure())
    with pytest.raises(RuntimeError, match=r"^torch.compile failed, RuntimeError: No working C\+\+ compiler found$"):
        compare_compiled(target, 1)
    assert target.trained is target.model


def test_compiled_and_eager_take_turns(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model: model)
    compared = compare_compiled(BenchTarget(configure()), 2)
    assert set(compared) == {"seconds", "eager_seconds", "speedup"}


def test_bars_are_inside_their_parent_and_labels_are_escaped():
    inner = [
        {"name": "<script>", "kind": "norms", "seconds": 1.0, "inside": []},
        {"name": "b", "kind": "loss", "seconds": 2.0, "inside": []},
    ]
    picture = draw('a & "b"', {"step": [{"name": "forward", "kind": "other", "seconds": 4.0, "inside": inner}]})
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    bars = [group.find(f"{space}rect") for group in root.iter(f"{space}g")]
    spans = [(float(bar.get("x")), float(bar.get("x")) + float(bar.get("width")), float(bar.get("y"))) for bar in bars]
    whole, forward, script, b = spans
    assert whole[:2] == forward[:2] == (10.0, 1210.0)
    assert script[:2] == (10.0, 310.0) and b[:2] == (310.0, 910.0)
    assert whole[2] < forward[2] < script[2] == b[2]
    assert "<script>" in [title.text.partition(":")[0] for title in root.iter(f"{space}title")]


def test_profile_prints_fractions_and_writes_a_picture(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    grid, picture = write_grid(tmp_path), tmp_path / "flame.svg"
    words = ("profile", grid, "--cell", "block=post_norm", "--steps", "2", "--context", "64", "--svg", picture)
    answer = ablate(*words, "--json")
    assert answer.code == 0, answer.err
    result = answer.json
    assert result["label"] == "block=post_norm" and result["compiled"] is None and result["steps"] == 2
    assert result["training_step"]["tokens"] == 32 and result["decode"]["context"] == 64
    for step in (result["training_step"], result["decode"]):
        assert sum(part["fraction"] for part in step["parts"]) == pytest.approx(1.0)
        assert step["overhead"] == pytest.approx(step["profiled_seconds"] / step["seconds"] - 1)
    titles = [
        title.text for title in ElementTree.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}title")
    ]
    assert any(title.startswith("block 1: ") for title in titles)
    printed = ablate(*words)
    assert "profiling adds" in printed.out and "100.0%" in printed.out
    assert max(map(len, printed.out.splitlines())) <= 80


def test_profile_accepts_a_baseline_and_refuses_unknown_cells(ablate: Ablate, tmp_path: Path) -> None:
    sizes = (
        "--set",
        "model.d_model=8",
        "--set",
        "model.n_layers=1",
        "--set",
        "task.length=8",
        "--set",
        "task.batch_size=2",
    )
    answer = ablate("profile", BASE, "--steps", "1", *sizes, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["label"] == "base" and answer.json["training_step"]["tokens"] == 16
    assert ablate("profile", BASE, "--cell", "x").code == 2
    answer = ablate("profile", write_grid(tmp_path), "--cell", "block=post_nrom")
    assert answer.code == 2 and "did you mean 'block=post_norm'?" in answer.err
    assert json.dumps(answer.err).count("\\n") == 1
