"""A grid as its runs leave it, and its page: what the tests of the page have in common."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

from ablation.compare.comparison import compare
from ablation.compare.inside import INSPECTION_FILE
from ablation.report.html.data import ReportData
from ablation.report.html.page import render, sections
from ablation.store.results import read_result
from support.inspections import ORDERS, inspection

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "{{7*7}}",
    "\u202etxt.exe",
    "\x1b[31mred\x1b[0m",
    "a'b\"c.d[0]",
)

FACTORS: dict[str, list[Any]] = {
    "model.block": ["pre_norm", "post_norm"],
    "optimizer.lr": [1e-4, 1e-3, 1e-2, 1e-1],
}


def made(
    folder: Path,
    factors: Mapping[str, Sequence[Any]] = FACTORS,
    *,
    n_seeds: int = 3,
    metric: str = "loss",
    reason: str | None = None,
    unfinished: Sequence[tuple[int, int]] = (),
    bench: dict[str, Any] | None = None,
) -> ReportData:
    """A grid as its runs leave it, in ``folder/runs``; ``reason`` fails one run, ``unfinished`` are (cell, seed)."""
    root = folder / "runs"
    cells = []
    for number, levels in enumerate(product(*factors.values())):
        settings = dict(zip(factors, levels, strict=True))
        named = {path: str(level) for path, level in settings.items()}
        label = " ".join(f"{path.split('.')[-1]}={level}" for path, level in named.items()) or "all"
        runs = [{"seed": seed, "id": f"{number:016x}{seed:016x}"} for seed in range(n_seeds)]
        counts = {"parameters": 1000 + number}
        cells.append({"label": label, "settings": settings, "levels": named, "counts": counts, "runs": runs})
        for seed, run in enumerate(runs):
            state = "failed" if reason and (number, seed) == (1, 0) else "begun" if (number, seed) in unfinished else ""
            leave(root / "store" / run["id"][:2] / run["id"], run["id"], settings, number, seed, metric, state, reason)
    manifest = {
        "schema": 1, "grid": "made", "metric": metric, "better": "lower", "seeds": list(range(n_seeds)), "sources": {},
        "data": [{"source": "made", "items": "rows", "training": 8}], "cells": cells,
        "factors": [{"path": path, "name": path.split(".")[-1], "levels": list(map(str, levels)),
                     "baseline": str(levels[0])} for path, levels in factors.items()],
    }  # fmt: skip
    (root / "made").mkdir(parents=True, exist_ok=True)
    (root / "made" / "manifest.json").write_text(json.dumps(manifest))
    ids = [run["id"] for cell in cells for run in cell["runs"]]
    outcomes = {run_id: read_result(root / "store" / run_id[:2] / run_id, run_id) for run_id in ids}
    return ReportData(manifest, compare(manifest, outcomes, bench=bench), root)


def leave(
    directory: Path, run_id: str, settings: dict[str, Any], cell: int, seed: int, metric: str, state: str, reason: Any
) -> None:
    """What one run writes."""
    directory.mkdir(parents=True)
    loss = 2.0 + 0.1 * cell + 0.01 * seed * (cell + 1) % 0.03
    config = {"model": {"d_model": 8}, **settings, "seed": seed}
    record = {"schema": 1, "id": run_id, "seed": seed, "config": config, "identity": {"fingerprint": None}}
    (directory / "run.json").write_text(json.dumps(record))
    rows = [
        {"step": n, "tokens": 100 * n, "seconds": n * (1 + seed / 10), "train/loss": loss + 1 / n} for n in (1, 2, 3)
    ]
    rows.insert(2, {"step": 2, "tokens": 200, "seconds": 2 * (1 + seed / 10), f"validation/{metric}": loss + 0.2})
    rows += [{"step": 3, "tokens": 300, "seconds": 3 * (1 + seed / 10), f"validation/{metric}": loss}]
    kept = rows[:2] if state == "begun" else rows
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept) + '{"step": 4, "tok')
    if state == "failed":
        failure = {"schema": 1, "id": run_id, "kind": "exception", "reason": reason, "attempt": 1}
        (directory / "failure.json").write_text(json.dumps(failure))
    elif not state:
        final = {metric: loss, f"{metric}@2x": loss + 0.1, f"{metric}@4x": loss + 0.3}
        depth = {"activation_by_depth": [1.0, 2.0 + cell], "gradient_by_depth": [0.5, 0.25]}
        result = {
            "schema": 1, "id": run_id, "status": "completed", "reason": None,
            "quality": {"primary": metric, "better": "lower", "final": final, "best": final},
            "stability": {"diverged": False, "gradient_norm_max": 1.0 + seed, "initial_loss": 5.0, **depth},
            "efficiency": {"parameters": 1000 + cell, "tokens": 300, "training_seconds": 3.0, "tokens_per_second": 1e3},
            "record": {"device": "cpu", "machine": "x86_64", "torch": "2.13.0", "ablation": "0.1.0"},
        }  # fmt: skip
        (directory / "result.json").write_text(json.dumps(result))


def look_inside(data: ReportData) -> None:
    """Leave what `ablate inspect` finds in the first two cells of a grid."""
    cells = []
    for cell in data.comparison.cells[:2]:
        ((found),) = inspection(ORDERS[: len(cell.seeds)])["cells"]
        runs = [{**inside, "run": run.id} for inside, run in zip(found["runs"], cell.results, strict=True)]
        cells.append({**found, "label": cell.label, "runs": runs})
    first, second = (cell["label"] for cell in cells)
    alike = {"one": first, "other": second, "values": {"embedding": {"embedding": 1.0}}}
    content = {**inspection(ORDERS), "grid": data.comparison.grid, "cells": cells, "similarities": [alike]}
    (data.root / "made" / INSPECTION_FILE).write_text(json.dumps(content))


def text_of(data: ReportData) -> str:
    """The page, which is written as well."""
    page = render(data, sections(data))
    file_of(data).write_text(page, encoding="utf-8")
    return page


def file_of(data: ReportData) -> Path:
    return data.root / "made" / "report.html"


class Seen(HTMLParser):
    """What a browser would make of a page: its elements, and the text that is neither script nor style."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.blocks else None
        if self._inside:
            self.blocks[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[self._inside][-1] += data
        else:
            self.text += data

    def links(self) -> list[str]:
        return [
            value for _, found in self.elements for name, value in found.items() if name in ("href", "src") and value
        ]


def figures_of(page: str) -> dict[str, list[dict[str, Any]]]:
    """The specifications of the views of each figure."""
    data = json.loads(expanded(Seen(page).blocks["script"][0]))
    return {name: [view["spec"] for view in views] for name, views in data["figures"].items()}


def expanded(block: str) -> str:
    """The text of a compressed block."""
    return gzip.decompress(base64.b64decode(block)).decode()


def values_in(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for rows in view["datasets"].values() for row in rows]
