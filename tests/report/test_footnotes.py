"""The summary above a table and the footnotes below it."""

import re
from dataclasses import replace
from typing import Any

import pytest
from support.comparisons import grid
from support.studies import STUDIES, as_latex, as_markdown, flat, intervals, printed, remade

from ablation.compare.comparison import compare
from ablation.report.footnotes import notes
from ablation.report.summary import summary
from ablation.store.results import Evaluation, RunResult


def footer(text: str) -> str:
    """The notes, each in one line."""
    return re.sub(r"\n +", " ", text[text.index("\n- ") :])


@pytest.mark.parametrize(
    ("study", "reason"), [("one seed", "1 seed: an interval"), ("two seeds", "2 seeds: an interval")]
)
def test_too_few_seeds_are_named_as_reason_for_no_interval(study: str, reason: str) -> None:
    for text in (printed(STUDIES[study], 80), as_markdown(STUDIES[study])):
        assert f"no interval — {reason} needs 3" in text
        assert "▲" not in text
        assert not intervals(STUDIES[study])


def test_measure_of_some_of_the_runs_says_of_how_many() -> None:
    manifest, outcomes = grid([[2.0] * 3, [1.5, 2.5, 2.5]])
    for result in list(outcomes.values()):
        evaluations = [Evaluation(100, 1.0, 4.0), Evaluation(200, 2.0, result.metrics["loss"])]
        outcomes[result.id] = replace(result, evaluations=evaluations)
    found = compare(manifest, outcomes)
    expected = f"tokens to baseline: means of the runs that have it, 1 of 3 in {found.cells[1].label}"
    assert expected in notes(found, "tokens to baseline")
    assert not [line for line in notes(found, "loss") if "runs that have it" in line]


def test_difference_within_the_margin_is_not_denied() -> None:
    manifest, outcomes = grid([[2.0, 2.1, 2.2], [2.0031, 2.103, 2.2029]])
    found = compare({**manifest, "margins": {"loss": 0.01}}, outcomes)
    verdict = found.cells[1].metrics["loss"].verdict
    assert verdict is not None and verdict.within_margin
    assert "The change does not improve or worsen loss by more than the margin; 1 makes no difference" in summary(found)


def test_summary_counts_the_verdicts() -> None:
    verdicts = [cell.metrics["loss"].verdict.label for cell in STUDIES["complete"].cells[1:]]
    said = summary(STUDIES["complete"])
    assert f"{verdicts.count('better')} of 7 changes improve" in said
    assert f"{verdicts.count('worse')} worsen" in said
    assert "No run diverged" in said and "Speed was not benchmarked" in said
    assert summary(STUDIES["nothing there"]) == "None of 24 runs has ended yet."
    assert summary(STUDIES["incomplete"]).startswith("Partial: 21 of 24 runs have a result, 2 failed.")


def test_summary_names_the_main_effects_that_are_sure() -> None:
    study = STUDIES["complete"]
    assert "Main effects: position=alibi better; block=post_norm worse; 1 inconclusive." in summary(study)
    assert "Main effects" not in summary(STUDIES["two seeds"])
    interaction, *others = study.interactions  # of the same two
    assert interaction.verdict is not None
    interaction = replace(interaction, verdict=replace(interaction.verdict, label="worse"))
    dependent = summary(replace(study, interactions=(interaction, *others)))
    assert "Main effects: 2 dependent on another factor; 1 inconclusive." in dependent


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[0.0] * 3, [0.0] * 3], "Loss is 0 in every run, so it cannot distinguish the cells. "),
        ([[0.5] * 3, [0.5, 0.5, None]], "Loss is 0.5 in every run with a result, so it cannot distinguish the cells. "),
        ([[0.5, 0.4, 0.3], [0.5, 0.4, 0.3]], "The change does not improve or worsen loss; 1 makes no difference"),
        ([[0.5] * 3, [None] * 3], "The change is not shown to improve or worsen loss; 1 inconclusive."),
    ],
)
def test_summary_of_a_constant_measure_claims_nothing(values: list[list[float | None]], said: str) -> None:
    found = summary(compare(*grid(values)))
    assert said in found
    assert ("makes no difference" in found) == ("makes no difference" in said)


def test_footnotes_explain_only_what_the_table_shows() -> None:
    study = STUDIES["complete"]
    sd, speed = "±: standard deviation", "tokens/s: measured while runs trained side by side"
    assert sd in footer(printed(study, 80)) and speed in footer(printed(study, 80))
    assert sd in as_markdown(study) and speed in as_markdown(study)
    assert "standard deviation" not in as_latex(study) and "side by side" not in as_latex(study)
    assert speed in "".join(notes(study, "tokens/s")) and speed not in "".join(notes(study, "parameters"))
    manifest, outcomes = grid([[2.0] * 3, [2.1, 2.2, 2.4]])
    steady = compare(manifest, outcomes)
    assert "± 0." not in printed(steady, 80) and sd not in printed(steady, 80)
    assert "± 0." in printed(steady, 240) and sd in printed(steady, 240)


def test_diverged_run_has_its_reason_and_no_warning_sign() -> None:
    signs = {"initial_loss": 3.0, "gradient_norm_tail": 900.0}
    seen = remade(STUDIES["complete"], stability=lambda number, run: signs if number == 1 else {})
    assert "fragile: " in printed(seen, 80)
    lost = remade(seen, status=lambda number, run: "diverged" if number == 1 else run.status)
    assert "fragile: " not in printed(lost, 80) and "diverged: no reason given (n_heads=8" in printed(lost, 80)


def test_speed_of_runs_side_by_side_has_no_interval() -> None:
    factors = {"model.block": ["a", "b"], "model.norm": ["c", "d"]}
    losses = [[2.0 + 0.01 * seed + 0.1 * cell for seed in range(4)] for cell in range(4)]
    manifest, outcomes = grid(losses, factors, tokens_per_second=1000.0)
    outcomes = {key: replace(run, metrics={**run.metrics, "tokens_per_second": 900.0 + number})
                for number, (key, run) in enumerate(outcomes.items())}  # fmt: skip
    manifest |= {"design": {"name": "cumulative", "uncrossed": None, "stepwise": True, "excluded": []}}
    study = compare(manifest, outcomes, "tokens_per_second")
    contrasts = [found.contrasts["tokens_per_second"] for found in (*study.effects, *study.steps)]
    assert len(contrasts) == 5 and {contrast.interval for contrast in contrasts} == {None}
    text = flat(printed(study, 80))
    assert text.count("the speed of runs that trained side by side is no evidence") == 1


def test_loss_of_a_diverged_run_is_explained() -> None:
    said = "the loss of a diverged run is capped at that of its first step"
    manifest, outcomes = grid([[2.0, 2.1, 2.2], [2.0, 2.1, 2.2]])
    last = manifest["cells"][1]["runs"][-1]["id"]
    outcomes[last] = RunResult(last, "diverged", {}, initial_loss=3.0)
    assert said in flat(printed(compare(manifest, outcomes), 80))
    outcomes[last] = RunResult(last, "diverged", {})
    assert said not in flat(printed(compare(manifest, outcomes), 80))


def test_untested_cells_have_their_reason_once() -> None:
    manifest, outcomes = grid([[2.0, 2.1, 2.2], [None, None, None], [2.5, 2.7, 2.6]])
    text = flat(printed(compare(manifest, outcomes), 80))
    assert "3 of 3 runs not finished" in text and "an interval needs" not in text


def test_cells_that_were_stopped_early_are_named_with_their_steps() -> None:
    study = STUDIES["complete"]
    assert "stopped early" not in printed(study, 200)

    def record(number: int, run: RunResult) -> dict[str, Any]:
        step = {1: 1200 + 300 * int(run.id[-1], 16), 2: 900}.get(number)
        return {} if step is None else {"stopped_early": {"step": step, "of": 2000, "reason": "why"}}

    stopped = remade(study, record=record)
    one, other = (cell.label for cell in stopped.cells[1:3])
    said = (
        f"stopped early, so that values are those of the step at which each run ended: {one}: 3 of 3 runs after 1,200 "
        f"to 1,800 of 2,000 steps; {other}: 3 of 3 runs after 900 of 2,000 steps"
    )
    assert said in footer(printed(stopped, 200)) and said in as_markdown(stopped)
