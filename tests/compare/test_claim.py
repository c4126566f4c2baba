"""Claims: what is answered on made-up runs, what is refused, the probes' numbers, and the files in conf/claims."""

import json
import math
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from itertools import product, takewhile
from pathlib import Path
from typing import Any, get_args

import numpy
import pytest
import torch
import yaml
from pydantic import ValidationError
from scipy.stats import ttest_1samp, ttest_rel
from statsmodels.stats.multitest import multipletests
from support import CONF
from support.small_grids import (
    NORMS,
    command,
    eventually,
    in_process,
    processes,
    trouble,
    write_grid,
    write_trouble,
)

from ablation.bench.probes import ProbeInput
from ablation.compare.claim import ClaimResult, ExpectationResult, check_cells
from ablation.compare.claim import test_claim as evaluate_claim
from ablation.compare.comparison import compare
from ablation.compare.measures import EXACT, SENSITIVITY, STABILITY, SWEPT
from ablation.compare.records import Comparison
from ablation.config.experiment import ExperimentConfig
from ablation.errors import InputError
from ablation.grid.file import Grid, read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan
from ablation.grid.schema import Answer, ClaimConfig
from ablation.inspect.measures import MEASURES
from ablation.registry import REGISTRY
from ablation.report.claim import lines
from ablation.store.results import RunResult
from ablation.store.runs import Store
from ablation.study.claim import refuse_broken_rules
from ablation.study.manifest import load_plan
from ablation.study.study import Study
from ablation.study.untrained import TIMED_APART, names_of_trained

CLAIMS = sorted((CONF / "claims").glob("*.yaml"))
STATES = ["not yet run on the seeds below", "not yet replicated", "replicated once"]
"""What the first comment of a claim with fewer than two replications says of it, one of these."""
FACTORS = {"model.block": ["pre", "post"], "schedule.warmup_ratio": ["0.1", "0"]}
LEVEL = [2.00, 2.03, 1.98, 2.05, 2.01]
NOISE = [0.04, -0.03, 0.05, -0.06, 0.01]
SMALL_NOISE = [0.001, -0.002, 0.003, -0.001, 0.002]

Configure = Callable[..., ExperimentConfig]


def higher_by(difference: float, noise: Sequence[float] = SMALL_NOISE) -> list[float]:
    return [level + difference + n for level, n in zip(LEVEL, noise, strict=True)]


def study(*losses: Sequence[float | None], factors: Mapping[str, list[str]] = FACTORS, **extra: Any) -> Comparison:
    """The comparison of a grid with these losses by cell and seed; None: not finished, a text: ended so."""
    cells, outcomes = [], {}
    for number, (levels, row) in enumerate(zip(product(*factors.values()), losses, strict=False)):
        by_path = dict(zip(factors, levels, strict=True))
        runs = [{"seed": seed, "id": f"{number}-{seed}"} for seed in range(len(row))]
        cells.append({"label": " ".join(levels), "settings": by_path, "levels": by_path, "runs": runs})
        for run, loss in zip(runs, row, strict=True):
            if isinstance(loss, str):
                outcomes[run["id"]] = RunResult(run["id"], loss, {"loss": 9.0}, initial_loss=3.0)  # type: ignore[arg-type]
            elif loss is not None:
                outcomes[run["id"]] = RunResult(run["id"], "completed", {"loss": loss, **extra}, initial_loss=3.0)
    described = [
        {"path": path, "name": path.rpartition(".")[2], "levels": levels, "baseline": levels[0]}
        for path, levels in factors.items()
    ]
    manifest = {"grid": "study", "metric": "loss", "better": "lower", "seeds": list(range(len(losses[0])))}
    return compare({**manifest, "factors": described, "cells": cells}, outcomes)


def claimed(*expectations: Mapping[str, Any]) -> dict[str, Any]:
    expect = [{"measure": "loss", "cell": {"block": "post"}, **expectation} for expectation in expectations]
    claim = ClaimConfig(statement="It is so.", source="They 2020", expect=expect, pilot_seeds=[])
    return claim.model_dump(mode="json")


def answered(comparison: Comparison, *expectations: Mapping[str, Any], probes: Any = None) -> ClaimResult:
    return evaluate_claim(claimed(*expectations), comparison, probes)


def only(comparison: Comparison, **expectation: Any) -> ExpectationResult:
    (finding,) = answered(comparison, expectation).findings
    return finding


HIGHER, LOWER, EQUIVALENT, NOT_HIGHER = ({"expected": word} for word in ("higher", "lower", "equivalent", "not higher"))
WARM = {"model.block": ["pre", "post"]}


# Answers


@pytest.mark.parametrize(
    ("row", "expectation", "wanted"),
    [
        (higher_by(0.1), HIGHER, "supported"),
        (higher_by(0.1), LOWER, "contradicted"),
        (higher_by(-0.1), LOWER, "supported"),
        (higher_by(-0.1), HIGHER, "contradicted"),
        (higher_by(0.0, NOISE), HIGHER, "not resolved"),
        (higher_by(0.0, NOISE), LOWER, "not resolved"),
        (higher_by(0.1), {**HIGHER, "margin": 0.05}, "supported"),
        (higher_by(0.1), {**HIGHER, "margin": 0.1}, "not resolved"),
        (higher_by(0.1), {**HIGHER, "margin": 0.2}, "contradicted"),
        (higher_by(0.001), {**EQUIVALENT, "margin": 0.05}, "supported"),
        (higher_by(0.01), {**EQUIVALENT, "margin": 0.05}, "supported"),
        (higher_by(0.1), {**EQUIVALENT, "margin": 0.05}, "contradicted"),
        (higher_by(0.0, NOISE), {**EQUIVALENT, "margin": 0.02}, "not resolved"),
        (higher_by(-0.2), {**NOT_HIGHER, "margin": 0.05}, "supported"),
        (higher_by(0.02), {**NOT_HIGHER, "margin": 0.05}, "supported"),
        (higher_by(0.1), {**NOT_HIGHER, "margin": 0.05}, "contradicted"),
        (higher_by(0.0, NOISE), {**NOT_HIGHER, "margin": 0.02}, "not resolved"),
        (higher_by(-0.1), {"expected": "not lower", "margin": 0.05}, "contradicted"),
        (higher_by(0.1), {"expected": "not lower", "margin": 0.05}, "supported"),
        (LEVEL, EQUIVALENT, "supported"),
        (LEVEL, HIGHER, "contradicted"),
        (higher_by(0.1, [0.0] * 5), {**HIGHER, "margin": 0.05}, "supported"),
        (higher_by(0.1, [0.0] * 5), {**HIGHER, "margin": 0.2}, "contradicted"),
        (higher_by(0.1, [0.0] * 5), {**EQUIVALENT, "margin": 0.2}, "supported"),
        (higher_by(0.1, [0.0] * 5), {**EQUIVALENT, "margin": 0.05}, "contradicted"),
    ],
)
def test_expectation_is_supported_contradicted_or_not_resolved(
    row: list[float], expectation: dict[str, Any], wanted: str
) -> None:
    found = answered(study(LEVEL, row, factors=WARM), expectation)
    assert (found.answer, found.findings[0].answer) == (wanted, wanted)


def test_not_higher_is_a_paired_t_against_the_margin() -> None:
    row = higher_by(0.0, NOISE)
    finding = only(study(LEVEL, row, factors=WARM), **NOT_HIGHER, margin=0.02)
    shifted = numpy.array(row) - 0.02
    assert finding.verdict.p == pytest.approx(ttest_rel(shifted, LEVEL).pvalue, rel=1e-9)
    assert lines(finding)[0].endswith("expected not higher by more than 0.02")
    assert "paired t against the margin" in lines(finding)[-1]


def test_claim_is_contradicted_by_one_and_open_by_one_expectation() -> None:
    comparison = study(LEVEL, higher_by(0.1), higher_by(0.0, NOISE), factors={"model.block": ["pre", "post", "noisy"]})
    open_one = {**HIGHER, "cell": {"block": "noisy"}}
    assert answered(comparison, HIGHER).answer == "supported"
    assert answered(comparison, HIGHER, open_one).answer == "not resolved"
    assert answered(comparison, HIGHER, open_one, LOWER).answer == "contradicted"


def test_p_values_equal_scipys_paired_t_and_statsmodels_holm() -> None:
    rows = [LEVEL, higher_by(0.04, NOISE), higher_by(0.07, NOISE), higher_by(0.0, NOISE)]
    names = ["pre", "one", "two", "three"]
    comparison = study(*rows, factors={"model.block": names})
    found = answered(comparison, *({**HIGHER, "cell": {"block": name}} for name in names[1:]))
    ps = [ttest_rel(row, LEVEL).pvalue for row in rows[1:]]
    assert [finding.verdict.p for finding in found.findings] == pytest.approx(ps, rel=1e-9)
    adjusted = multipletests(ps, method="holm")[1]
    assert [finding.verdict.p_holm for finding in found.findings] == pytest.approx(list(adjusted), rel=1e-9)


def test_significant_alone_is_not_resolved_among_many_expectations() -> None:
    comparison = study(
        LEVEL, higher_by(0.06, NOISE), higher_by(0.0, NOISE), factors={"model.block": ["pre", "post", "x"]}
    )
    assert only(comparison, **HIGHER).answer == "supported"
    open_one = {**HIGHER, "cell": {"block": "x"}}
    assert answered(comparison, HIGHER, open_one, open_one).findings[0].answer == "not resolved"


def test_interaction_is_a_difference_of_differences_per_seed() -> None:
    rows = [LEVEL, higher_by(0.05, NOISE), higher_by(0.02, NOISE[::-1]), higher_by(0.3)]
    beyond = {"cell": {"warmup_ratio": 0}, "than": {}}
    finding = only(
        study(*rows), cell={"block": "post", "warmup_ratio": 0}, than={"block": "post"}, beyond=beyond, **HIGHER
    )
    pre, pre_cold, post, post_cold = (numpy.array(row) for row in rows)
    by_hand = (post_cold - post) - (pre_cold - pre)
    assert finding.contrast.differences == pytest.approx(list(by_hand), abs=1e-12)
    assert finding.verdict.p == pytest.approx(ttest_1samp(by_hand, 0).pvalue, rel=1e-9)
    assert finding.answer == "supported"
    assert "beyond warmup_ratio=0 against the baseline" in finding.of


def test_equal_effects_are_no_interaction() -> None:
    rows = [LEVEL, higher_by(0.2), higher_by(0.1, NOISE), [x + 0.2 for x in higher_by(0.1, NOISE)]]
    beyond = {"cell": {"warmup_ratio": 0}, "than": {}}
    cells = {"cell": {"block": "post", "warmup_ratio": 0}, "than": {"block": "post"}, "beyond": beyond}
    assert only(study(*rows), **cells, **EQUIVALENT, margin=0.02).answer == "supported"


def test_ratio_compares_logarithms() -> None:
    doubled = [2 * x * math.exp(n) for x, n in zip(LEVEL, SMALL_NOISE, strict=True)]
    comparison = study(LEVEL, doubled, factors=WARM)
    finding = only(comparison, **HIGHER, ratio=True, margin=math.log(1.9))
    by_hand = [math.log(2) + n for n in SMALL_NOISE]
    assert finding.contrast.differences == pytest.approx(by_hand, abs=1e-12)
    assert finding.answer == "supported"
    assert only(comparison, **EQUIVALENT, ratio=True, number=4.0, margin=0.1).answer == "supported"


def test_ratio_with_zero_is_not_resolved_and_gives_the_reason() -> None:
    finding = only(study(LEVEL, [0.0, *higher_by(0.1)[1:]], factors=WARM), **HIGHER, ratio=True)
    assert finding.answer == "not resolved"
    assert finding.contrast.reason_missing == "no value in 1 of 5 seeds"


def test_number_can_replace_a_cell() -> None:
    comparison = study(LEVEL, higher_by(0.1), factors=WARM)
    assert only(comparison, **HIGHER, number=2.05).answer == "supported"
    assert only(comparison, **HIGHER, number=2.3).answer == "contradicted"
    finding = only(comparison, **HIGHER, number=2.05)
    assert finding.verdict.p == pytest.approx(ttest_1samp(higher_by(0.1), 2.05).pvalue, rel=1e-9)
    assert finding.of == "block=post against 2.05"


def test_measures_of_one_cell_can_be_compared() -> None:
    comparison = study(LEVEL, higher_by(0.1), factors=WARM, **{"loss@4x": 3.0})
    assert only(comparison, measure="loss@4x", than_measure="loss", than={"block": "post"}, **HIGHER).answer == (
        "supported"
    )


def test_diverged_run_counts_as_not_having_learned_anything() -> None:
    finding = only(study(LEVEL, ["diverged", *higher_by(0.9)[1:]], factors=WARM), **HIGHER)
    assert finding.values[0] == 3.0
    assert finding.answer == "supported"


@pytest.mark.parametrize(("missing", "note"), [(None, "1 of 5 runs not finished"), ("failed", "1 of 5 runs failed")])
def test_missing_run_leaves_the_claim_open_and_is_reported(missing: str | None, note: str) -> None:
    for rows in ([LEVEL, [missing, *higher_by(0.5)[1:]]], [[missing, *LEVEL[1:]], higher_by(0.5)]):
        finding = only(study(*rows, factors=WARM), **HIGHER)
        assert finding.answer == "not resolved"
        assert finding.contrast.reason_missing == note


def test_comparison_with_a_number_needs_no_baseline() -> None:
    assert only(study([None] * 5, higher_by(0.1), factors=WARM), **HIGHER, number=2.05).answer == "supported"


@pytest.mark.parametrize(("ended", "wanted"), [("diverged", "supported"), ("failed", "not resolved")])
def test_diverged_rate_counts_as_sensitive_and_failed_one_as_open(ended: Any, wanted: str) -> None:
    factors = {"model.block": ["pre", "post"], "optimizer.lr": ["1", "0.1", "0.01", "0.001"]}
    calm = [LEVEL, higher_by(0.001), higher_by(-0.001), higher_by(0.002)]
    shaken = [[ended, *higher_by(0.9)[1:]], *(higher_by(x) for x in (0.2, 0.0, 0.3))]
    assert only(study(*calm, *shaken, factors=factors), measure=SENSITIVITY, **HIGHER).answer == wanted


def test_claim_needs_more_than_two_seeds() -> None:
    assert only(study([2.0, 2.1], [3.0, 3.1], factors=WARM), **HIGHER).answer == "not resolved"


def test_probe_needs_no_run() -> None:
    probes = {("pre", "order_sensitivity"): [1e-16, 2e-16, 1e-16], ("post", "order_sensitivity"): [0.5, 0.6, 0.7]}
    expectation = {"measure": "order_sensitivity", **HIGHER}
    assert answered(study([None] * 3, [None] * 3, factors=WARM), expectation, probes=probes).answer == "supported"


# What is refused


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        ({"cell": {"blok": "post"}}, "'blok' is not a factor; factors: block, warmup_ratio; did you mean 'block'?"),
        ({"cell": {"block": "psot"}}, "block: 'psot' is not a level; levels: pre, post; did you mean 'post'?"),
        ({"than": {"warmup_ratio": 0.5}}, "warmup_ratio: '0.5' is not a level; levels: 0.1, 0"),
        ({"beyond": {"cell": {"blok": "post"}}}, "'blok' is not a factor"),
        ({"measure": "los"}, "'los' was not measured; measured: "),
        ({"ratio": True, "number": 0}, "0 has no logarithm"),
    ],
)
def test_unknown_factor_level_or_measure_is_refused_in_one_line(expectation: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        answered(study(LEVEL, higher_by(0.1), LEVEL, LEVEL), {**HIGHER, **expectation})
    assert str(error.value).startswith("claim.expect: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_levels_are_named_by_path_or_as_yaml_reads_them() -> None:
    factors = {"model.mixer.scale": ["true", "false"], "optimizer.lr": ["1", "0.003", "1e-05"]}
    comparison = study(*([LEVEL] * 6), factors=factors)
    for cell in ({"model.mixer.scale": False}, {"scale": True, "lr": 1.0}, {"lr": 3e-3}, {"optimizer.lr": 1e-5}):
        check_cells(claimed({**HIGHER, "cell": cell}), comparison)


def test_expectation_is_higher_lower_or_equivalent() -> None:
    for expectation in ({"expected": "bigger"}, {"expected": "not higher"}):
        with pytest.raises(ValidationError):
            claimed(expectation)


def with_claim(file: Path, *expect: Mapping[str, Any]) -> Path:
    """The grid with a claim whose arms, the two levels of its factor, had the same search."""
    grid = yaml.safe_load(file.read_text())
    ((path, (_, level)),) = grid["factors"].items()
    arms = [{}, {path: level.get("label", level["name"]) if isinstance(level, dict) else level}]
    search = [{"arms": arms, "tried": {"optimizer.lr": [1e-4, 1e-3, 1e-2]}}]
    claim = {"statement": "So.", "source": "They", "expect": list(expect), "pilot_seeds": [99], "search": search}
    file.write_text(yaml.safe_dump({**grid, "claim": claim}, sort_keys=False))
    return file


def test_command_refuses_in_one_line_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ablate, file, runs = in_process(monkeypatch, capsys), write_grid(tmp_path, NORMS), tmp_path / "runs"
    found = ablate("claim", file, "--runs", runs)
    assert found.code == 2
    assert "claim: is missing" in found.err
    loss = {"measure": "loss", "expected": "higher"}
    for expectation, message in (
        ({**loss, "cell": {"block": "postnorm"}}, "did you mean 'post_norm'?"),
        ({**loss, "cel": {}}, "did you mean 'cell'?"),
        ({**loss, "expected": "bigger"}, "higher"),
        ({**loss, "measure": "step_by_step_gap"}, "only a causal language model decodes step by step"),
    ):
        with_claim(file, expectation)
        settings = ["--set", "model.architecture=encoder", "--set", "task={name: parity}"]
        found = ablate("claim", file, "--runs", runs, *(settings if "step" in str(expectation) else []))
        assert found.code == 2, found
        assert message in found.err
        assert len(found.err.strip().splitlines()) == 1
    assert not (runs / "store").exists()


def test_named_statistical_test_is_the_one_that_the_answer_rests_on() -> None:
    for row, expectation, name, p in (
        (higher_by(0.001), {**EQUIVALENT, "margin": 0.05}, "equivalence test", "p_equivalence_holm"),
        (higher_by(0.001), {**HIGHER, "margin": 0.05}, "equivalence test", "p_equivalence_holm"),
        (higher_by(0.1), {**EQUIVALENT, "margin": 0.05}, "paired t against the margin", "p_exceeds_holm"),
        (higher_by(0.1), {**HIGHER, "margin": 0.05}, "paired t against the margin", "p_exceeds_holm"),
        (higher_by(0.1), HIGHER, "paired t", "p_holm"),
    ):
        finding = only(study(LEVEL, row, factors=WARM), **expectation)
        assert lines(finding)[-1] == f"  {name}, Holm over 1: p = {getattr(finding.verdict, p):.3g}"


def test_command_trains_what_is_missing_and_answers_with_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ablate, file, runs = in_process(monkeypatch, capsys), write_grid(tmp_path, NORMS, seeds=3), tmp_path / "runs"
    with_claim(file, {"measure": "loss", "cell": {"block": "post_norm"}, "expected": "lower", "margin": 5.0})
    found = ablate("claim", file, "--runs", runs, "--workers", "1", "--json")
    assert found.code == 0, found
    assert found.json["answer"] == "contradicted"
    (finding,) = found.json["findings"]
    assert len(finding["values"]) == 3
    again = ablate("claim", file, "--runs", runs, "--figures", tmp_path / "figures")
    assert "✗ contradicted" in again.out
    assert "over 3 seeds" in again.out
    assert "expected lower by more than 5" in (tmp_path / "figures" / "claim.svg").read_text()


def test_claim_whose_models_are_trained_is_planned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ablate, file, runs = in_process(monkeypatch, capsys), write_grid(tmp_path, NORMS), tmp_path / "runs"
    with_claim(file, {"measure": "loss", "expected": "higher"})
    planned: list[Path] = []

    def counted(grid: Grid, *arguments: Any, **options: Any) -> Plan:
        planned.append(Path(grid.document.file))
        return make_plan(grid, *arguments, **options)

    monkeypatch.setattr("ablation.grid.planner.make_plan", counted)
    found = ablate("claim", file, "--runs", runs, "--workers", "1", "--set", "training.max_steps=2")
    assert found.code == 0, found
    assert planned == [file]
    written = json.loads((runs / "small" / "manifest.json").read_text())
    folders = [runs / "store" / run["id"][:2] / run["id"] for cell in written["cells"] for run in cell["runs"]]
    assert [json.loads((folder / "result.json").read_text())["efficiency"]["steps"] for folder in folders] == [2, 2]


def test_interrupted_claim_gives_no_answer_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scratch_registry: Any
) -> None:
    plugin, runs, waiting = write_trouble(tmp_path), tmp_path / "runs", tmp_path / "wait"
    file = write_grid(tmp_path, trouble("wait"), {"training.log_every": 1})
    with_claim(file, {"measure": "loss", "expected": "higher"})
    waiting.touch()
    words = ("claim", file, "--runs", runs, "--workers", "1", "--plugin", plugin)
    with command(tmp_path, *words) as claiming:
        eventually(lambda: len(list(runs.rglob("result.json"))) == 1 and len(list(runs.rglob("metrics.jsonl"))) == 2)
        claiming.send_signal(signal.SIGINT)
        out, err = claiming.communicate(timeout=300)
        assert (claiming.returncode, out) == (4, "")
        assert err.splitlines()[-1] == "Stopped. The same command goes on with what is missing."
        eventually(lambda: not processes(tmp_path))
    waiting.unlink()
    found = in_process(monkeypatch, capsys)(*words)
    assert (found.code, found.err.splitlines()[0]) == (0, "1 run to train, at most 1 at a time")
    assert "not resolved" in found.out


# Probes


def measured(name: str, subject: ProbeInput) -> float:
    return REGISTRY["probe"][name](name=name).build()(subject)


def weights_by_hand(subject: ProbeInput) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Of a causal pre_norm decoder's first layer without positions, in numpy: (B, H, L, L), and keys per query."""
    block, config = subject.model.stack.blocks[0], subject.config.model
    x = subject.model.embedding.table.weight.detach().numpy()[subject.examples()["tokens"].numpy()]
    x = (x - x.mean(-1, keepdims=True)) / numpy.sqrt(x.var(-1, keepdims=True) + 1e-5)
    mixer, d_head = block.sublayers[0], config.d_model // config.n_heads
    q, k = (x @ w.weight.detach().numpy().T for w in (mixer.query, mixer.key))
    n_texts, n_tokens, _ = x.shape
    weights = numpy.zeros((n_texts, config.n_heads, n_tokens, n_tokens))
    for h in range(config.n_heads):
        g = h // (config.n_heads // (config.n_kv_heads or config.n_heads))
        for t in range(n_tokens):
            q_t = q[:, t, h * d_head : (h + 1) * d_head]
            scores = numpy.einsum("bd,bsd->bs", q_t, k[:, : t + 1, g * d_head : (g + 1) * d_head]) / d_head**0.5
            shares = numpy.exp(scores - scores.max(-1, keepdims=True))
            weights[:, h, t, : t + 1] = shares / shares.sum(-1, keepdims=True)
    return weights, numpy.arange(1, n_tokens + 1)


@pytest.mark.parametrize("n_kv_heads", [None, 2])
def test_sharpness_of_attention_is_that_of_a_softmax_by_hand(configure: Configure, n_kv_heads: int | None) -> None:
    subject = ProbeInput.of(configure({"model.position": "none", "model.n_kv_heads": n_kv_heads}))
    weights, n_keys = weights_by_hand(subject)
    logs = numpy.log(numpy.where(weights > 0, weights, 1.0))
    entropy = (-(weights * logs).sum(-1))[..., 7:] / numpy.log(n_keys[7:])
    assert measured("attention_entropy", subject) == pytest.approx(entropy.mean(), rel=1e-9)
    assert 0.01 < entropy.mean() < 0.99
    trace = (1 - (weights**2).sum(-1))[..., 7:].mean()
    assert measured("softmax_gradient", subject) == pytest.approx(trace, rel=1e-9)


def test_softmax_gradient_is_the_trace_of_the_derivative() -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
    weights = scores.softmax(0)
    derivative = torch.autograd.functional.jacobian(lambda s: s.softmax(0), scores)
    assert float((weights * (1 - weights)).sum()) == pytest.approx(float(derivative.trace()), rel=1e-12)


def test_attention_to_all_alike_has_entropy_one(configure: Configure) -> None:
    subject = ProbeInput.of(configure())
    torch.nn.init.zeros_(subject.model.stack.blocks[0].sublayers[0].query.weight)
    assert measured("attention_entropy", subject) == pytest.approx(1.0, abs=1e-12)
    alike = sum(1 - 1 / n for n in range(8, 13)) / 5
    assert measured("softmax_gradient", subject) == pytest.approx(alike, abs=1e-12)


CLASSES = {"task": {"name": "listops", "length": 16}, "model.position": "none"}


@pytest.mark.parametrize(
    ("changes", "is_bag"),
    [
        ({"model.architecture": "encoder"}, True),
        ({"model.architecture": "encoder", "model.position": "learned"}, False),
        ({"model.architecture": "encoder", "model.position": "alibi"}, False),
        ({"model.architecture": "decoder", "model.n_layers": 1}, True),
        ({"model.architecture": "decoder", "model.n_layers": 2}, False),
        ({"task": {"name": "text", "length": 12}, "model.n_layers": 1}, True),
        ({"task": {"name": "text", "length": 12}, "model.n_layers": 2}, False),
    ],
)
def test_order_sensitivity_is_zero_only_for_bags_of_words(
    configure: Configure, changes: dict[str, Any], is_bag: bool
) -> None:
    found = measured("order_sensitivity", ProbeInput.of(configure({**CLASSES, **changes})))
    assert found < 1e-12 if is_bag else found > 1e-3


def test_order_sensitivity_follows_the_shuffled_first_token(configure: Configure) -> None:
    subject = ProbeInput.of(configure({**CLASSES, "model.architecture": "encoder"}))
    tokens = subject.examples()["tokens"]

    class First(torch.nn.Module):
        def forward(self, text: torch.Tensor) -> torch.Tensor:
            assert sorted(text[0].tolist()) == sorted(tokens[0].tolist())
            assert torch.equal(text[:, -1], tokens[:, -1])
            seen.append(text)
            return text[:, :1].double()

    seen: list[torch.Tensor] = []
    found = measured("order_sensitivity", ProbeInput(subject.config, subject.task, First()))
    assert found == float((seen[0][:, 0] - seen[1][:, 0]).abs().max())
    assert torch.equal(seen[0], tokens)
    assert not torch.equal(seen[1], tokens)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_batch_sensitivity_is_zero_for_norms_of_single_tokens(configure: Configure, norm: str) -> None:
    dropping = {"model.dropout": 0.5, "model.mixer": {"name": "attention", "dropout": 0.5}}
    assert measured("batch_sensitivity", ProbeInput.of(configure({"model.norm": norm, **dropping}))) < 1e-12


def test_batch_norm_cares_as_in_training_and_its_averages_stay(configure: Configure) -> None:
    subject = ProbeInput.of(configure({"model.norm": "batch_norm"}))
    tokens = subject.examples()["tokens"]
    found = measured("batch_sensitivity", subject)
    assert torch.equal(subject.model.stack.norm.running_mean, torch.zeros(16))
    training = subject.model.train()
    with torch.no_grad():
        assert found == pytest.approx(float((training(tokens)[:1] - training(tokens[:1])).abs().max()), rel=1e-9)
    assert found > 1e-3


def test_step_by_step_gap_is_zero_unless_outputs_differ(configure: Configure) -> None:
    subject = ProbeInput.of(configure())
    assert measured("step_by_step_gap", subject) < 1e-12
    model = subject.model

    class Apart(torch.nn.Module):
        def forward(self, tokens: torch.Tensor, cache: Any = None) -> torch.Tensor:
            return model(tokens, cache=cache) + (0.25 if cache is not None else 0.0)

    assert measured("step_by_step_gap", ProbeInput(subject.config, subject.task, Apart())) == pytest.approx(0.25)


@pytest.mark.parametrize("block", ["pre_norm", "post_norm", "deepnorm"])
def test_gradient_probes_read_the_last_map_of_each_feedforward(configure: Configure, block: str) -> None:
    subject = ProbeInput.of(configure({"model.block": block, "model.n_layers": 3}))
    growth, unevenness = (measured(name, subject) for name in ("gradient_last_to_first", "gradient_unevenness"))
    examples = subject.examples()
    shares = subject.model(examples["tokens"]).log_softmax(-1)
    loss = -shares.gather(-1, examples["targets"].unsqueeze(-1)).mean()
    maps = [layer.sublayers[1].down.weight for layer in subject.model.stack.blocks]
    logs = [math.log(gradient.norm()) for gradient in torch.autograd.grad(loss, maps)]
    assert growth == pytest.approx(logs[-1] - logs[0], rel=1e-9)
    assert unevenness == pytest.approx(numpy.std(logs, ddof=1), rel=1e-9)


def test_feedforward_is_two_thirds_of_a_block(configure: Configure) -> None:
    width = 16
    share = 8 * width**2 / (12 * width**2 + 2 * 2 * width)  # beside two norms of gain and shift
    assert measured("feedforward_fraction", ProbeInput.of(configure())) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("attention_entropy", {"model.mixer": "mamba", "model.position": "none"}, "mixer 'mamba' has none"),
        ("step_by_step_gap", {**CLASSES, "model.architecture": "encoder"}, "only a causal language model decodes"),
        ("gradient_unevenness", {"model.n_layers": 1}, "two layers or more"),
        ("gradient_last_to_first", {"model.n_layers": 1}, "two layers or more"),
    ],
)
def test_model_without_the_number_is_refused(
    configure: Configure, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measured(name, ProbeInput.of(configure(changes)))


@pytest.mark.parametrize("name", sorted(REGISTRY["probe"]))
def test_probe_leaves_random_numbers_and_the_model_as_they_were(configure: Configure, name: str) -> None:
    config = configure({"model.dropout": 0.5, "model.mixer": {"name": "attention", "dropout": 0.5}})
    before = (torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist())
    subject = ProbeInput.of(config)
    weights = {path: tensor.clone() for path, tensor in subject.model.state_dict().items()}
    first = measured(name, subject)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), numpy.random.get_state()[1].tolist()) == before[1:]
    assert all(torch.equal(tensor, weights[path]) for path, tensor in subject.model.state_dict().items())
    assert not any(module.training for module in subject.model.modules())
    assert not any(module._forward_pre_hooks for module in subject.model.modules())
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    assert measured(name, ProbeInput.of(config)) == first


# The files


def claim_of(file: Path) -> dict[str, Any]:
    claim = read_grid(file).config.claim
    assert claim is not None, f"{file.name} is no claim"
    return claim.model_dump(mode="json")


def names_in(claim: Mapping[str, Any]) -> set[str]:
    return {e[key] for e in claim["expect"] for key in ("measure", "than_measure")} - {None}


def measures_of(config: ExperimentConfig) -> set[str]:
    """What a run of it will have measured."""
    task = config.task.build()
    sets = ["", *(f"@{name}" for name in task.further_validation())]
    quality = {f"{metric}{of}{way}" for metric in task.metrics() for of in sets for way in ("", "_best", "_mean_last")}
    return quality | {*EXACT, *STABILITY} - {*SWEPT}


@pytest.mark.parametrize("file", CLAIMS, ids=lambda file: file.stem)
def test_every_claim_can_be_planned_and_names_what_there_is(file: Path, tmp_path: Path) -> None:
    plan, claim = load_plan(file, (), None, (), store=Store(tmp_path)), claim_of(file)
    comparison = compare(plan.manifest(), {})
    check_cells(claim, comparison)
    swept = {*SWEPT} & set(comparison.names)
    known = {*REGISTRY["probe"], *TIMED_APART, *MEASURES} | swept | measures_of(plan.cells[0].runs[0].config)
    assert names_in(claim) <= known
    assert len(comparison.seeds) >= 3
    assert all(e["margin"] is not None or e["expected"] != "equivalent" for e in claim["expect"])


@pytest.mark.parametrize("file", CLAIMS, ids=lambda file: file.stem)
def test_comment_answer_and_replications_of_a_claim_agree(file: Path) -> None:
    claim, comment = claim_of(file), first_comment(file)
    answer, answers = claim["answer"], [replication["answer"] for replication in claim["replications"]]
    said = [state for state in STATES if state in comment]
    assert len(said) == (len(answers) < 2), f"{file.name}: with {len(answers)} replications, it says {said} of {STATES}"
    if said == STATES[:1]:
        assert answer is None and not answers
    elif answer is None:
        assert answers_in(comment)[0] == "supported", "what is not supported needs no replication"
    else:
        assert answers_in(comment)[0] == answer, "the first comment says something else than the file's `answer`"
        assert answer == "not resolved" or {*answers} <= {answer}


@pytest.mark.parametrize("file", CLAIMS, ids=lambda file: file.stem)
def test_claims_of_this_repository_keep_the_rules(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = load_plan(file, (), None, (), store=store)
    comparison = compare(plan.manifest(), {})
    refuse_broken_rules(plan, comparison, names_of_trained(sorted(names_in(claim_of(file)))))


def first_comment(file: Path) -> str:
    """What it says of the claim, as one line in lower case."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines()[1:])
    return " ".join(line.removeprefix("# ") for line in lines).lower()


def answers_in(comment: str) -> list[str]:
    return sorted((word for word in get_args(Answer) if word in comment), key=comment.index)


@pytest.mark.slow
@pytest.mark.parametrize("file", CLAIMS, ids=lambda file: file.stem)
def test_answers_for_untrained_models_come_out_again(file: Path, tmp_path: Path) -> None:
    claim = claim_of(file)
    if not names_in(claim) <= set(REGISTRY["probe"]):
        pytest.skip("its models are trained")
    study = Study(file, runs=tmp_path)
    own, _ = study.claim()
    assert own is not None
    others = {replication["answer"] for replication in claim["replications"]} - {own.answer}
    assert claim["answer"] == ("not resolved" if others else own.answer)
    assert len(own.notes) == bool(others)
    for replication in claim["replications"]:
        again, _ = study.claim(fresh=replication["seed"])
        assert again is not None and again.answer == replication["answer"]
