"""The comparison in every format: nothing lost, nothing too wide, and no text from outside that does anything."""

import csv
import io
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.comparisons import grid

from ablation.compare.comparison import compare
from ablation.compare.fairness import at_edge, tuning, unmatched
from ablation.compare.power import minimum_detectable_difference, observed_rho
from ablation.compare.records import Comparison
from ablation.report import TEXT_FORMATS, labels, numbers
from ablation.report.footnotes import brief
from ablation.report.numbers import TIMES
from ablation.report.render import csv as comma_separated
from ablation.report.render import json as document
from ablation.report.render import latex, markdown, terminal
from ablation.report.summary import summary
from ablation.stats.contrast import Contrast
from ablation.store.results import RunResult

FACTORS = {
    "model.block": ["pre_norm", "post_norm"],
    "model.position": ["sinusoidal", "alibi"],
    "model.n_heads": ["4", "8"],
}
EFFECT = {"post_norm": 0.15, "alibi": -0.05}
HOSTILE = "[bold red]x[/] =1+1|a\x1b[31m\nb\u202ec<script>alert(1)</script>**d** `e` [f](http://g) \ud800 \x07#\\"
Ends = dict[tuple[int, int], RunResult | None]


def made(
    seeds: int = 3, ends: Ends | None = None, factors: dict[str, list[str]] | None = None, **changes: Any
) -> Comparison:
    """A made-up grid; ``ends`` are the runs, by cell and seed, that did not complete (None: not there)."""
    random_numbers = random.Random(3)
    factors = factors or FACTORS
    shared = [random_numbers.gauss(0, 0.02) for _ in range(seeds)]
    cells, outcomes = [], {}
    for number, combination in enumerate(product(*factors.values())):
        levels = dict(zip(factors, combination, strict=True))
        label = " ".join(f"{path.split('.')[-1]}={level}" for path, level in levels.items()
                         if not number or level != factors[path][0])  # fmt: skip
        runs = [{"seed": seed, "id": f"{number:016x}{seed:016x}"} for seed in range(seeds)]
        cells.append({"label": label, "settings": dict(levels), "levels": levels, "runs": runs})
        for seed, run in enumerate(runs):
            loss = (
                2.34
                + shared[seed]
                + sum(EFFECT.get(level, 0) for level in combination)
                + random_numbers.gauss(0, 0.006)
            )
            costs = {"parameters": 804224.0, "tokens_per_second": 41234.0 + random_numbers.gauss(0, 300)}
            quality = {"loss": loss, "perplexity": math.exp(loss), "accuracy": 0.5 - loss / 20}
            run_id = str(run["id"])
            ended = (ends or {}).get((number, seed), RunResult(run_id, "completed", {**quality, **costs}))
            if ended is not None:
                outcomes[run_id] = ended
    manifest = {
        "schema": 1, "grid": "norm-position-heads", "metric": "loss", "better": "lower", "seeds": list(range(seeds)),
        "factors": [{"path": path, "name": path.split(".")[-1], "levels": levels, "baseline": levels[0]}
                    for path, levels in factors.items()],
        "cells": cells,
    }  # fmt: skip
    return compare({**manifest, **changes}, outcomes)


def incomplete() -> Ends:
    oom = RunResult("", "failed", reason="RuntimeError: out of memory")
    return {(1, 2): RunResult("", "diverged", reason="not finite at step 120"), (3, 0): oom, (3, 1): oom, (6, 0): None}


def hostile() -> Comparison:
    levels = ["fine", HOSTILE, "=cmd()", "+1", "-1", "@sum", "\tx", "\rx", "|", "長い名前" * 20, "x" * 300]
    failed: Ends = {
        (1, 0): RunResult("", "failed", reason=HOSTILE),
        (2, 1): RunResult("", "diverged", reason="y" * 1000),
    }
    return made(ends=failed, factors={f"model.{HOSTILE}": levels}, grid=HOSTILE)


def printed(comparison: Comparison, width: int, **options: Any) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, **options)
    terminal.show(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def intervals(comparison: Comparison) -> list[str]:
    contrasts = [cell.metrics["loss"].contrast for cell in comparison.cells[1:]]
    contrasts += [effect.contrasts["loss"] for effect in (*comparison.effects, *labels.interactions(comparison))]
    return [numbers.difference(contrast, 3)[1] for contrast in contrasts if contrast and contrast.interval]


STUDIES = {
    "complete": made(),
    "incomplete": made(ends=incomplete()),
    "two seeds": made(seeds=2),
    "one seed": made(seeds=1),
    "baseline alone": made(factors={"model.block": ["pre_norm"]}),
    "nothing there": made(ends={(cell, seed): None for cell in range(8) for seed in range(3)}),
    "hostile": hostile(),
}


@pytest.mark.parametrize("width", [60, 72, 80, 100, 119, 120, 160, 240])
@pytest.mark.parametrize("study", STUDIES)
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut_or_folded(study: str, width: int) -> None:
    text = printed(STUDIES[study], width)
    assert max(map(cell_len, text.splitlines())) <= width
    shown = re.findall(r"\[[+-][\d.]+, [+-][\d.]+\]", text)
    assert shown == intervals(STUDIES[study])
    for cell in STUDIES[study].cells:
        assert labels.runs(cell)[0] in text
    assert "…" not in text.replace("y …", "")


def test_the_baseline_is_first_with_its_mean_and_deviation() -> None:
    rows = printed(STUDIES["complete"], 80).splitlines()
    first = next(number for number, row in enumerate(rows) if set(row.strip()) == {"─"}) + 1
    assert rows[first].startswith("baseline: block=pre_norm")
    loss = STUDIES["complete"].baseline.metrics["loss"]
    assert f"{loss.mean:.3f} ± {loss.sd:.3f} SD" in rows[first]


def test_at_80_columns_each_cell_has_difference_interval_verdict_and_runs_and_its_costs_below() -> None:
    text = printed(STUDIES["complete"], 80)
    row, costs = (row for row in text.splitlines() if row.startswith("position=alibi  "))
    assert re.search(rf"804,224 +4\d\.\dk {TIMES}\d\.\d\d", costs)
    assert re.search(r"-0\.\d+ +\[-0\.\d+, -0\.\d+\] +▲ better +3/3", row)


def test_at_180_columns_means_other_metrics_and_absolute_speed_unfold() -> None:
    text = printed(STUDIES["complete"], 180)
    row = next(row for row in text.splitlines() if row.startswith("block=post_norm position=alibi n_heads=8"))
    assert re.search(r"2\.\d+ ± 0\.\d+ +\+0.*▼ worse +.*804,224 +4\d\.\dk .*3/3", row)
    assert "perplexity" in text and "accuracy" in text


def test_what_did_not_complete_is_counted_and_its_reason_said_once() -> None:
    text = printed(STUDIES["incomplete"], 240)
    assert "2/3 +1 diverged" in text and "1/3 +2 failed" in text and "2/3 +1 missing" in text
    assert text.count("RuntimeError: out of memory") == 1
    assert "failed: RuntimeError: out of memory (position=alibi n_heads=8, seeds 0, 1)" in text
    assert "no interval for n_heads=8 — 1 of 3 runs diverged" in text
    assert re.search(r"^n_heads=8 .* [+-]0\.\d+ over 2 of 3 seeds", text, re.MULTILINE)
    assert not re.search(r"^main effect", text, re.MULTILINE)
    assert (
        "no main effect of block=post_norm; position=alibi; n_heads=8 — 1 of 24 runs diverged, 2 failed, 1 not" in text
    )


@pytest.mark.parametrize(
    ("study", "reason"), [("one seed", "1 seed: an interval"), ("two seeds", "2 seeds: an interval")]
)
def test_with_too_few_seeds_every_format_for_people_says_why_there_is_no_interval(study: str, reason: str) -> None:
    for text in (printed(STUDIES[study], 80), markdown.render(STUDIES[study])):
        assert f"no interval — {reason} needs 3" in text
        assert "▲" not in text
        assert not intervals(STUDIES[study])


def test_every_verdict_has_a_mark_a_word_and_a_line_that_explains_it() -> None:
    verdicts = [cell.metrics["loss"].verdict for cell in STUDIES["complete"].cells]
    assert verdicts[0] is None and all(verdicts[1:])
    text = printed(STUDIES["complete"], 80)
    for verdict in verdicts[1:]:
        mark, word = labels.verdict(verdict).split(" ", 1)
        assert mark == labels.MARKS[verdict.label]
        assert f"{mark} {word}" in text
    assert "▲ better  ▼ worse  ≈ equivalent" in text


def test_the_summary_counts_what_the_verdicts_say() -> None:
    verdicts = [cell.metrics["loss"].verdict.label for cell in STUDIES["complete"].cells[1:]]
    said = summary(STUDIES["complete"])
    assert f"{verdicts.count('better')} of 7 changes improve" in said
    assert f"{verdicts.count('worse')} worsen" in said
    assert "No run diverged" in said and "Speed was not measured" in said
    assert summary(STUDIES["nothing there"]) == "None of 24 runs has ended yet."
    assert summary(STUDIES["incomplete"]).startswith("Partial: 21 of 24 runs have ended.")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[0.0] * 3, [0.0] * 3], "Loss is 0 in every run: nothing can be told from it. "),
        ([[0.5] * 3, [0.5, 0.5, None]], "Loss is 0.5 in every run that has one: nothing can be told from it. "),
        ([[0.5, 0.4, 0.3], [0.5, 0.4, 0.3]], "None of 1 change improves or worsens loss; 1 makes no difference"),
        ([[0.5] * 3, [None] * 3], "None of 1 change surely improves or worsens loss; 1 undecided."),
    ],
)
def test_of_a_measure_that_is_one_number_in_all_runs_the_summary_calls_nothing_equal(
    values: list[list[float | None]], said: str
) -> None:
    found = summary(compare(*grid(values)))
    assert said in found
    assert ("makes no difference" in found) == ("makes no difference" in said)


def footer(text: str) -> str:
    """The notes, each in one line."""
    return re.sub(r"\n +", " ", text[text.index("\n- ") :])


def test_the_footer_explains_only_what_the_table_above_it_shows() -> None:
    study = STUDIES["complete"]
    sd, speed = "±: standard deviation", "tokens/s: of runs side by side"
    assert sd in footer(printed(study, 80)) and speed in footer(printed(study, 80))
    assert sd in markdown.render(study) and speed in markdown.render(study)
    assert "standard deviation" not in latex.render(study) and "side by side" not in latex.render(study)
    assert speed in "".join(brief(study, "tokens/s")) and speed not in "".join(brief(study, "parameters"))
    manifest, outcomes = grid([[2.0] * 3, [2.1, 2.2, 2.4]])
    steady = compare(manifest, outcomes)
    assert "± 0." not in printed(steady, 80) and sd not in printed(steady, 80)
    assert "± 0." in printed(steady, 240) and sd in printed(steady, 240)


def test_in_latex_whose_verdicts_are_words_no_mark_is_explained() -> None:
    text = latex.render(STUDIES["complete"])
    assert re.search(r"^verdicts: paired t and equivalence test, Holm over 7 comparisons", text, re.MULTILINE)
    assert not re.search(r"[▲▼≈?]", text) and r"$\approx$ equivalent" not in text


def test_what_a_diverged_run_showed_is_no_sign_of_its_own_beside_the_reason() -> None:
    signs = {"initial_loss": 3.0, "gradient_norm_tail": 900.0}
    seen = remade(STUDIES["complete"], stability=lambda number, run: signs if number == 1 else {})
    assert "fragile: " in printed(seen, 80)
    lost = remade(seen, status=lambda number, run: "diverged" if number == 1 else run.status)
    assert "fragile: " not in printed(lost, 80) and "diverged: no reason given (n_heads=8" in printed(lost, 80)


def test_what_depends_on_another_factor_is_not_called_better_or_worse_on_average() -> None:
    study = STUDIES["complete"]
    assert not labels.interactions(study)
    values = {(a, b): [2.0 + 0.2 * (a == b == "1") + 0.001 * seed * (1 + (a == "1")) for seed in range(4)]
              for a in "01" for b in "01"}  # fmt: skip
    cells, outcomes = [], {}
    for (a, b), losses in values.items():
        levels = {"model.a": a, "model.b": b}
        runs = [{"seed": seed, "id": f"{a}{b}{seed}"} for seed in range(4)]
        cells.append({"label": f"a={a} b={b}", "settings": levels, "levels": levels, "runs": runs})
        outcomes |= {r["id"]: RunResult(str(r["id"]), "completed", {"loss": losses[int(str(r["seed"]))]}) for r in runs}
    factors = [{"path": f"model.{n}", "name": n, "levels": ["0", "1"], "baseline": "0"} for n in "ab"]
    manifest = {"grid": "g", "metric": "loss", "better": "lower", "seeds": [0, 1, 2, 3]}
    found = compare({**manifest, "factors": factors, "cells": cells}, outcomes)
    assert [labels.effect(effect) for effect in labels.interactions(found)] == ["a=1 x b=1"]
    assert {labels.effect_verdict(found, effect) for effect in found.effects} == {"≠ depends"}


def test_color_adds_nothing_that_is_not_in_the_words() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    terminal.show(STUDIES["incomplete"], console)
    assert isinstance(console.file, io.StringIO)
    colored = console.file.getvalue()
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == printed(STUDIES["incomplete"], 80)


def test_markup_is_shown_as_it_is_written_wherever_the_terminal_shows_words() -> None:
    ends: Ends = {(2, 0): RunResult("", "failed", reason="[red]why[/]")}
    factors = {"model.block": ["pre", "post", "[red]level[/]"], "model.[red]factor[/]": ["a", "b"]}
    text = printed(made(ends=ends, factors=factors, grid="[red]grid[/]"), 240)
    for shown in (
        "[red]grid[/]",
        "block=[red]level[/]  ",
        "block: [red]level[/] against pre",
        "[red]factor[/]=b",
        "[red]why[/]",
    ):
        assert shown in text


def test_control_characters_in_names_and_reasons_do_nothing_in_the_terminal() -> None:
    text = printed(STUDIES["hostile"], 160)
    assert "[bold red]x[/] =1+1|a bc<script>" in text
    assert all(character == "\n" or character.isprintable() for character in text)
    text.encode()


def test_markup_and_control_characters_do_nothing_in_markdown() -> None:
    text = markdown.render(STUDIES["hostile"])
    assert all(character == "\n" or character.isprintable() for character in text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 11
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {len(re.findall(r"\|", rows[1]))}
    assert not re.search(r"(?<!\\)<|(?<!\\)`|(?<!\\)\[|[^\\*]\*\*d", text)
    text.encode()


def test_an_underscore_is_escaped_only_where_it_could_be_emphasis() -> None:
    assert markdown.escaped("pre_norm _x_ a|b") == r"pre_norm \_x\_ a\|b"


def test_markdown_has_a_row_for_each_cell_and_effect_and_the_notes() -> None:
    lines = markdown.render(STUDIES["complete"]).splitlines()
    assert sum(line.startswith("|") for line in lines) == (2 + 8) + (2 + 3)
    assert any(line.startswith("| baseline: block=pre_norm position=sinusoidal n_heads=4 | 2.") for line in lines)
    assert any(line.endswith("; 95 % interval: paired t, uncorrected") for line in lines)


MACHINE = {
    "host": "a", "machine": "x86_64", "device": "cpu", "precision": "32-true", "threads": 1, "python": "3.11.7",
    "torch": "2.13.0", "lightning": "2.6.6", "ablation": "0.1.0",
}  # fmt: skip


def remade(study: Comparison, **changes: Callable[[int, RunResult], Any]) -> Comparison:
    """The same with fields of the runs' outcomes made anew from the number of the cell and the outcome."""
    cells = [
        replace(
            cell,
            outcomes=tuple(
                replace(run, **{name: change(number, run) for name, change in changes.items()}) for run in cell.results
            ),
        )
        for number, cell in enumerate(study.cells)
    ]
    return replace(study, cells=tuple(cells))


def larger(study: Comparison, by: dict[int, float]) -> Comparison:
    """The same with cells, by their number, that have so many times the parameters."""
    cells = list(study.cells)
    for number, times in by.items():
        metrics = dict(cells[number].metrics)
        metrics["parameters"] = replace(metrics["parameters"], mean=804224.0 * times)
        cells[number] = replace(cells[number], metrics=metrics)
    return replace(study, cells=tuple(cells))


def flat(text: str) -> str:
    """Without the line breaks and indents that a narrow terminal makes."""
    return " ".join(text.split())


def test_a_cell_that_is_not_matched_is_marked_and_the_footer_says_by_how_much() -> None:
    study = larger(STUDIES["complete"], {1: 1.34, 2: 0.96, 3: 1.019})
    line = "¶ not matched, more than 2 % from the baseline's: parameters -4 % to +34 %"
    for text in (printed(study, 80), printed(study, 240), markdown.render(study)):
        assert line in flat(text)
        assert re.search(r"n_heads=8¶ ", text) and re.search(r"position=alibi¶ ", text)
        assert not re.search(r"position=alibi n_heads=8¶", text)
    assert r"n\_heads=8$\P$" in latex.render(study) and r"$\P$ not matched" in latex.render(study)
    found = [cell["unmatched"] for cell in json.loads(document.render(study))["cells"]]
    assert found == [{}, {"parameters": pytest.approx(0.34)}, {"parameters": pytest.approx(-0.04)}, {}, {}, {}, {}, {}]
    assert "¶" not in printed(STUDIES["complete"], 80) + markdown.render(STUDIES["complete"])


def test_what_only_some_of_the_marked_cells_differ_in_names_them() -> None:
    study = larger(STUDIES["complete"], {1: 1.5})
    study = remade(study, tokens=lambda number, run: 500.0 if number == 2 else 1000.0)
    said = "parameters +50 % (n_heads=8), tokens seen -50 % (position=alibi)"
    assert said in flat(printed(study, 80))


def test_the_footer_says_on_which_machine_and_with_which_versions() -> None:
    study = remade(STUDIES["complete"], record=lambda number, run: MACHINE)
    versions = "1 thread; ablation 0.1.0, torch 2.13.0, lightning 2.6.6, python 3.11.7"
    for text in (markdown.render(study), latex.render(study)):
        assert "made on: host a, cpu, x86" in text
        assert versions in flat(text)
        assert "not the same" not in text
    assert json.loads(document.render(study))["record"]["torch"] == ["2.13.0"]
    assert "made on" not in markdown.render(STUDIES["complete"])
    assert "made on" not in printed(study, 240), "the terminal names them where they are not the same for all runs"


def test_runs_of_different_machines_or_versions_are_told() -> None:
    other = {**MACHINE, "host": "[red]b[/]\x1b[31m", "torch": "2.12.1"}
    study = remade(STUDIES["complete"], record=lambda number, run: other if number == 3 else MACHINE)
    text = flat(printed(study, 80))
    assert "made on: cpu, x86_64, 32-true, 1 thread; ablation 0.1.0, lightning 2.6.6, python 3.11.7; " in text
    assert "not the same for all runs: host [red]b[/], a; torch 2.12.1, 2.13.0" in text


def test_the_footer_says_how_small_a_difference_could_have_been_seen_and_what_pairing_gained() -> None:
    study = STUDIES["complete"]
    smallest, rho = minimum_detectable_difference(study), observed_rho(study)
    assert smallest is not None and rho is not None
    seen = f"this grid sees differences of {smallest:.2g} nats or more with 80 % power"
    line = f"in a cell of middling noise {seen}; same seed, correlation with the baseline {rho:.2f}"
    for text in (printed(study, 80), markdown.render(study), latex.render(study)):
        assert line in flat(text).replace(r"\%", "%")
    assert "this grid sees" not in printed(STUDIES["one seed"], 80)


@pytest.mark.parametrize(
    ("factors", "line"),
    [
        ({"model.block": ["a", "b"]}, "tuning: none in this grid, one recipe for all"),
        (
            {"model.block": ["a", "b"], "optimizer.lr": ["0.1", "0.2", "0.3"]},
            "tuning: the same 3 learning rates for all",
        ),
        ({"schedule.warmup_ratio": ["0", "0.1"]}, "tuning: none in this grid; schedule.warmup_ratio differs"),
        (
            {"optimizer": ["a", "b"], "task.batch_size": ["1", "2"], "schedule": ["c", "d"]},
            "tuning: none in this grid; optimizer, task.batch_size and schedule differ",
        ),
        ({"optimizer": ["a", "b"], "lr": ["1", "2"]}, "tuning: the same 2 learning rates for all; optimizer varied as"),
    ],
)
def test_the_footer_says_what_tuning_there_was(factors: dict[str, list[str]], line: str) -> None:
    assert line in flat(printed(made(factors=factors), 80))


def test_with_nothing_to_compare_there_is_no_word_of_tuning() -> None:
    for text in (printed(STUDIES["baseline alone"], 80), markdown.render(STUDIES["baseline alone"])):
        assert "tuning" not in text


def test_a_best_learning_rate_at_the_edge_of_those_tried_is_told() -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": ["0.01", "0.1", "1"]}
    study = made(factors=factors)
    cells = [
        replace(cell, metrics={**cell.metrics, "loss": replace(cell.metrics["loss"], mean=mean)})
        for cell, mean in zip(study.cells, [2.0, 1.9, 2.2, 2.0, 1.9, 1.8], strict=True)
    ]
    study = replace(study, cells=tuple(cells))
    assert at_edge(study) == ["block=post_norm lr=1"]
    assert "best at the edge of these for block=post_norm lr=1" in flat(printed(study, 80))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0] * 3, [0.0] * 3, [0.0] * 3], []),
        ([[0.5] * 3, [0.6] * 3, [0.9, None, None]], []),
        ([[0.7] * 3, [0.6] * 3, [None, None, None]], ["0.01"]),
    ],
)
def test_a_rate_is_best_alone_and_not_for_what_did_not_diverge(values: list[list[float | None]], expected: list[str]):
    rates = ["0.01", "0.1", "1"]
    manifest, outcomes = grid(values, {"optimizer.lr": rates})
    for cell in manifest["cells"]:
        for run in cell["runs"]:
            lost = RunResult(run["id"], "diverged", {"parameters": 9.0})
            known = outcomes.get(run["id"], lost)
            outcomes[run["id"]] = replace(known, metrics={"accuracy": known.metrics["loss"]} if known != lost else {})
    study = compare({**manifest, "metric": "accuracy", "better": "higher"}, outcomes)
    assert at_edge(study) == expected


def test_levels_that_hold_all_data_vary_the_recipe_where_they_name_another_batch_size() -> None:
    study = made(factors={"task": ["copy", "copy at 16"]})
    assert tuning(study).others == ()
    settings: list[Any] = [{"name": "copy"}, {"name": "copy", "batch_size": 16}]
    cells = [replace(cell, settings={"task": level}) for cell, level in zip(study.cells, settings, strict=True)]
    assert tuning(replace(study, cells=tuple(cells))).others == ("data",)


def test_the_speed_of_runs_side_by_side_can_be_asked_for_and_has_no_effect_or_interval() -> None:
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


def test_what_stands_for_the_loss_of_a_diverged_run_is_said() -> None:
    said = "diverged runs count with at most the loss of their first step"
    manifest, outcomes = grid([[2.0, 2.1, 2.2], [2.0, 2.1, 2.2]])
    last = manifest["cells"][1]["runs"][-1]["id"]
    outcomes[last] = RunResult(last, "diverged", {}, initial_loss=3.0)
    assert said in flat(printed(compare(manifest, outcomes), 80))
    outcomes[last] = RunResult(last, "diverged", {})
    assert said not in flat(printed(compare(manifest, outcomes), 80))


def test_where_nothing_could_be_tested_the_reason_is_given_once_and_is_no_count_of_seeds() -> None:
    manifest, outcomes = grid([[2.0, 2.1, 2.2], [None, None, None], [2.5, 2.7, 2.6]])
    text = flat(printed(compare(manifest, outcomes), 80))
    assert "3 of 3 runs not yet there" in text and "an interval needs" not in text


def test_learning_rates_that_not_every_cell_was_run_at_are_called_unequal() -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": ["0.01", "0.1"]}
    study = made(factors=factors)
    assert tuning(study).equal
    partly = replace(study, cells=study.cells[:3])
    assert not tuning(partly).equal
    assert "tuning: unequal, not every cell was run at the same learning rates" in flat(printed(partly, 80))


def test_a_diverged_run_that_stopped_early_does_not_make_its_cell_unmatched() -> None:
    study = remade(STUDIES["complete"], tokens=lambda number, run: 1000.0)
    baseline, cell, *others = study.cells
    cell = replace(cell, outcomes=tuple(replace(run, status="diverged", tokens=10.0) for run in cell.results))
    assert unmatched(replace(study, cells=(baseline, cell, *others)), cell) == {}


CELL_KEYS = ["label", "settings", "run_ids", "n", "completed", "diverged", "failed", "missing", "note", "standing"]
CELL_KEYS += ["unmatched", "metrics"]
METRIC_KEYS = ["mean", "sd", "values", "delta", "ci", "p", "verdict", "judgment"]


@pytest.mark.parametrize("study", STUDIES)
def test_the_document_is_strict_json_with_the_promised_keys(study: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(document.render(STUDIES[study]), parse_constant=refuse)
    assert list(found) == [
        "schema", "grid", "baseline", "seeds", "metric", "better", "cells", "summary", "primary", "interim_looks", "measures",
        "bench", "interactions", "main_effects", "main_effects_note", "design", "steps", "smallest_detectable",
        "observed_rho", "tuning", "record",
    ]  # fmt: skip
    assert found["baseline"] == found["cells"][0]["label"]
    for cell in found["cells"]:
        assert list(cell) == CELL_KEYS
        assert cell["n"] == found["seeds"] == len(cell["run_ids"])
        assert cell["completed"] + cell["diverged"] + cell["failed"] + cell["missing"] == cell["n"]
        assert list(cell["metrics"]) == list(STUDIES[study].names)
        for name, metric in cell["metrics"].items():
            assert list(metric) == METRIC_KEYS
            assert len(metric["values"]) == cell["n"]
            judged = name == "loss" and cell is not found["cells"][0]
            assert metric["verdict"] in (labels.MARKS if judged else [None])
    assert {(m["delta"], m["ci"], m["p"]) for m in found["cells"][0]["metrics"].values()} == {(None, None, None)}


def test_the_document_carries_the_numbers_unrounded() -> None:
    study = STUDIES["complete"]
    found = json.loads(document.render(study))
    contrast = study.cells[4].metrics["loss"].contrast
    assert contrast is not None and contrast.interval is not None
    loss = found["cells"][4]["metrics"]["loss"]
    assert (loss["delta"], tuple(loss["ci"]), loss["p"]) == (contrast.delta, contrast.interval, contrast.p)
    assert found["cells"][4]["settings"] == {
        "model.block": "post_norm",
        "model.position": "sinusoidal",
        "model.n_heads": "4",
    }
    assert [effect["factor"] for effect in found["main_effects"]] == list(FACTORS)
    assert found["main_effects"][0]["metrics"]["loss"]["ci"] is not None


def test_the_note_of_a_cell_says_why_there_is_no_interval_and_what_failed() -> None:
    cells = json.loads(document.render(STUDIES["incomplete"]))["cells"]
    assert cells[1]["note"] == "1 of 3 runs diverged; seed 2 diverged: not finite at step 120"
    assert cells[2]["note"] is None
    assert cells[1]["metrics"]["loss"]["ci"] is None


def test_settings_that_json_cannot_say_become_their_names() -> None:
    levels: dict[str, Any] = {"model.block": "pre_norm"}
    cell = {
        "label": "b",
        "settings": {"a": math.inf, "b": [math.nan, {"c": 1.5}]},
        "levels": levels,
        "runs": [{"seed": 0, "id": "x"}],
    }
    study = made(seeds=1, factors={"model.block": ["pre_norm"]}, cells=[cell])
    assert json.loads(document.render(study))["cells"][0]["settings"] == {"a": "inf", "b": ["nan", {"c": 1.5}]}


def rows(comparison: Comparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(comma_separated.render(comparison)), strict=True))


def test_csv_has_a_row_for_each_cell_and_metric_with_the_value_of_each_seed() -> None:
    study = STUDIES["incomplete"]
    found = rows(study)
    assert len(found) == len(study.cells) * len(study.names)
    loss = next(row for row in found if row["cell"] == "n_heads=8" and row["metric"] == "loss")
    metric = study.cells[1].metrics["loss"]
    assert [loss[f"value_{seed}"] for seed in range(3)] == [str(metric.values[0]), str(metric.values[1]), ""]
    assert (loss["n"], loss["completed"], loss["diverged"], loss["failed"], loss["low"]) == ("3", "2", "1", "0", "")
    assert (float(loss["mean"]), loss["model.n_heads"], loss["model.block"]) == (metric.mean, "8", "pre_norm")


def test_no_word_in_csv_is_a_formula_and_numbers_stay_numbers() -> None:
    text = comma_separated.render(STUDIES["hostile"])
    found = rows(STUDIES["hostile"])
    word_columns = ["grid", "cell", "metric", next(name for name in found[0] if name.startswith("model."))]
    for row in found:
        for name, value in row.items():
            if name in word_columns:
                assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
            elif name == "verdict":
                assert value in ("", *labels.MARKS)
            elif value:
                float(value)
    levels = {row[word_columns[-1]] for row in found}
    assert {"'=cmd()", "'+1", "'-1", "'@sum", "'x", "fine"} <= levels
    assert any(row["delta"].startswith("-") for row in found)
    assert all(character == "\n" or character.isprintable() for character in text)
    text.encode()


def test_the_text_formats_are_named_as_on_the_command_line() -> None:
    assert list(TEXT_FORMATS) == ["markdown", "csv", "json", "latex"]
    assert all(render(STUDIES["complete"]).endswith("\n") for render in TEXT_FORMATS.values())


@pytest.mark.parametrize(
    ("delta", "interval", "written"),
    [
        (0.1512345, (0.1201, 0.1823), ("+0.151", "[+0.120, +0.182]")),  # half width 0.031
        (-5.1234, (-10.2, 0.05), ("-5.1", "[-10.2, +0.1]")),  # half width 5.1
        (1234.5, (1000.2, 1468.8), ("+1234", "[+1000, +1469]")),  # half width 234
        (0.0123456, (0.002381, 0.022310), ("+0.012", "[+0.002, +0.022]")),  # half width 0.00996, which rounds to 0.010
        (0.011, (0.0004, 0.0216), ("+0.0110", "[+0.0004, +0.0216]")),  # +0.000 would look as if it reached zero
        (-2e-12, (-3e-12, -1e-12), ("-2.00e-12", "[-3.00e-12, -1.00e-12]")),
        (3e12, (1e12, 5e12), ("+3.00e+12", "[+1.00e+12, +5.00e+12]")),
    ],
)
def test_a_difference_has_the_decimals_of_the_second_digit_of_the_half_width(
    delta: float, interval: tuple[float, float], written: tuple[str, str]
) -> None:
    assert numbers.difference(Contrast(delta, 3, interval, 0.5), 3) == written


def test_a_difference_that_is_the_same_in_every_seed_says_so() -> None:
    study = made(factors={"model.block": ["pre_norm", "post_norm"]})
    same = Contrast(0.0, 3, (0.0, 0.0))
    assert labels.differences(study, [same, Contrast(0.25, 3, (0.25, 0.25))]) == [
        ("0", "in every seed"),
        ("+0.250", "in every seed"),
    ]


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (41234, "41.2k"), (804224, "804k"), (999600, "1.00M"), (1.5e9, "1.50G")],
)
def test_counts_are_shortened_to_three_digits(count: float, written: str) -> None:
    assert numbers.short(count) == written


def test_decimal_points_stand_below_each_other() -> None:
    assert numbers.aligned(["+0.1512", "-10.2", "0"]) == [" +0.1512", "-10.2   ", "  0     "]
