"""Made-up comparisons of all kinds, and what each format makes of them."""

import io
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

from rich.console import Console

from ablation.compare.comparison import compare
from ablation.compare.records import Comparison
from ablation.report import labels, numbers
from ablation.report.render import render, terminal
from ablation.report.table import TableData
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
    return "".join(terminal.texts(TableData.of(comparison), console))


def as_markdown(comparison: Comparison) -> str:
    return render(TableData.of(comparison), "markdown")


def as_latex(comparison: Comparison) -> str:
    return render(TableData.of(comparison), "latex")


def as_csv(comparison: Comparison) -> str:
    return render(TableData.of(comparison), "csv")


def as_json(comparison: Comparison) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(render(TableData.of(comparison), "json"))
    return document


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


def remade(study: Comparison, **changes: Callable[[int, RunResult], Any]) -> Comparison:
    """The same with fields of the runs' outcomes made anew from the number of the cell and the outcome."""
    cells = [
        replace(
            cell,
            results=tuple(
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
