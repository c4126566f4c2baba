"""The page: self-contained, with every figure that there is data for, and safe with any text from outside."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import vl_convert
from support.small_grids import Ablate

from ablation.compare.comparison import compare
from ablation.report.html.appendix import methods
from ablation.report.html.data import ReportData
from ablation.report.html.figure import PRINT, write
from ablation.report.html.lines import position
from ablation.report.html.page import render, sections
from ablation.report.html.tradeoff import front
from ablation.store.results import read_result

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "{{7*7}}",
    "\u202etxt.exe",
    "\x1b[31mred\x1b[0m",
    "a'b\"c.d[0]",
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

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


def text_of(data: ReportData, file: Path | None = None) -> str:
    file = file or data.root / "made" / "report.html"
    page = render(data, sections(data), file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return page


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
    (data, *_) = Seen(page).blocks["script"]
    found: dict[str, list[dict[str, Any]]] = json.loads(data)["figures"]
    return found


def values_in(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for rows in view["datasets"].values() for row in rows]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return made(tmp_path_factory.mktemp("grid"), unfinished=[(2, 1)])


@pytest.fixture(scope="module")
def page(data: ReportData) -> str:
    return text_of(data)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("hostile")
    return made(folder, {f"model.{HOSTILE[0]}": HOSTILE, "model.x": ["a", "b"]}, metric=HOSTILE[0], reason=HOSTILE[0])


def test_page_is_self_contained(page: str):
    links = Seen(page).links()
    assert links and not [link for link in links if re.match(r"[a-z]+:|//", link)]
    assert len(page.encode()) < 3_000_000


def test_policy_allows_only_the_scripts_of_the_page(page: str):
    seen = Seen(page)
    policy = next(found["content"] for tag, found in seen.elements if found.get("http-equiv"))
    assert policy is not None and "unsafe" not in policy and "default-src 'none'" in policy
    data, *scripts = seen.blocks["script"]
    assert json.loads(data) and len(scripts) == 2
    for text in [*scripts, *seen.blocks["style"]]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert not [name for _, found in seen.elements for name in found if name.startswith("on") or name == "style"]


def test_page_has_every_figure_that_there_is_data_for(page: str):
    assert list(figures_of(page)) == [
        "forest_quality", "forest_stability", "curves_validation", "curves_training", "length", "interaction",
        "effects", "learning_rate", "depth", "tradeoff",
    ]  # fmt: skip


def test_forest_has_a_dot_per_seed_interval_and_margin(page: str, data: ReportData):
    values = values_in(figures_of(page)["forest_quality"][0])
    label = data.names[data.comparison.cells[4].label]
    of_cell = [row for row in values if row.get("cell") == label]
    contrast = data.comparison.cells[4].metrics["loss"].contrast
    assert contrast is not None and contrast.interval is not None
    assert [row["delta"] for row in of_cell if "replicate" in row] == list(contrast.differences)
    assert {(row["low"], row["high"]) for row in of_cell if "low" in row} == {contrast.interval}
    assert {"low": -0.01, "high": 0.01} in values


def test_timed_measures_have_a_forest_and_a_tradeoff(tmp_path: Path):
    def timed(cell: int, value: float, *log_ratios: float) -> dict[str, Any]:
        measures = {"training_step": {"value": value, "log_ratios": list(log_ratios)}}
        return {"run": f"{cell:016x}{0:016x}", "measures": measures}

    cells = [timed(0, 0.1, 0, 0, 0), timed(1, 0.2, 0.68, 0.69, 0.70)]
    bench = {"processes": 3, "rounds": 4, "dropped_rounds": 1, "record": {"device": "cpu"}, "cells": cells}
    data = made(tmp_path, {"model.block": ["a", "b"]}, bench=bench)
    figures = figures_of(text_of(data))
    values = values_in(figures["forest_efficiency"][0])
    assert [row["delta"] for row in values if "replicate" in row] == pytest.approx([97.4, 99.4, 101.4], abs=0.1)
    priced = [row["cost"] for row in values_in(figures["tradeoff"][0]) if "cell" in row]
    assert priced == [100, 200]  # milliseconds
    assert "3 processes, 4 interleaved rounds, 1 dropped as noisy" in Seen(text_of(data)).text


def test_grid_without_results_has_a_page_too(tmp_path: Path):
    nothing = made(tmp_path, {"model.block": ["a", "b"]}, unfinished=[(c, s) for c in (0, 1) for s in (0, 1, 2)])
    assert list(figures_of(text_of(nothing))) == ["curves_training"]
    assert "None of 6 runs has ended yet" in Seen(text_of(nothing)).text


def test_unmatched_cell_is_marked_with_the_amount(tmp_path: Path):
    data = made(tmp_path, {"model.block": ["a", "b"]})
    assert "¶" not in text_of(data)
    one, other = data.comparison.cells
    metrics = {**other.metrics, "parameters": replace(other.metrics["parameters"], mean=1340.0)}
    comparison = replace(data.comparison, cells=(one, replace(other, metrics=metrics)))
    seen = Seen(text_of(replace(data, comparison=comparison)))
    assert "block=b¶" in seen.text and "block=a¶" not in seen.text
    assert seen.text.count("¶ not matched, more than 2 % from the baseline's: parameters +34 %") == 2


def test_methods_give_hardware_tuning_and_matching(data: ReportData):
    said = dict(methods(data))
    assert said["Hardware"] == "device cpu, machine x86_64" and said["Versions"] == "ablation 0.1.0, torch 2.13.0"
    assert said["Tuning"].startswith("the same 4 learning rates for all")
    assert said["Matching"] == "within 2 % of the baseline: parameters, tokens seen"
    assert "this grid detects differences of" in said["Power"]
    assert said["Data"] == "made; 8 rows train"


def test_correction_and_margins_are_given_once(page: str):
    text = Seen(page).text
    assert text.count("Holm over") == 1 and text.count("loss 0.01") == 1
    assert "▲ better  ▼ worse  ≈ equivalent  ? inconclusive  = identical  ✗ diverged: tested over seeds" in text


def test_sensitivity_to_the_learning_rate_is_compared_once(page: str, data: ReportData):
    values = values_in(figures_of(page)["forest_stability"][0])
    assert {row["cell"] for row in values if "cell" in row} == {data.names[data.comparison.cells[4].label]}
    assert Seen(page).text.count("of all learning rates together") == 6


def test_times_have_their_units(tmp_path: Path):
    runs = [f"{cell:016x}{0:016x}" for cell in (0, 1)]
    cells = [{"run": run, "measures": {"training_step": {"value": 0.0175, "log_ratios": [0.0] * 3}}} for run in runs]
    bench = {"processes": 3, "rounds": 4, "dropped_rounds": 1, "measures": {"training_step": {"unit": "s"}}}
    text = Seen(text_of(made(tmp_path, {"model.block": ["a", "b"]}, bench={**bench, "cells": cells}))).text
    assert "17.5 ms" in text and "0.0175" not in text


def test_exploding_line_is_cut_off_and_named(tmp_path: Path):
    data = made(tmp_path, {"model.block": ["a", "b", "c"]})
    assert "Cut off" not in " ".join(figure.caption for _, found in sections(data) for figure in found)
    for found in data.rows[data.comparison.cells[2].label].values():
        found[0]["train/loss"] = 1000.0
    drawn = next(f for _, found in sections(data) for f in found if f.name == "curves_training")
    assert drawn.caption.endswith("Cut off at the top: block=c.")
    tops = [layer["encoding"]["y"]["scale"]["domainMax"] for layer in drawn.views["by tokens"]["layer"]]
    assert len(set(tops)) == 1 and 3 < tops[0] < 10
    assert all(layer["mark"]["clip"] for layer in drawn.views["by tokens"]["layer"])


def test_position_figure_marks_the_length_of_training(tmp_path: Path):
    data = made(tmp_path, {"model.block": ["a", "b"]})
    assert position(data) is None
    usual = {"position": [1.0, 2.0], "loss": [3.0, 2.0]}
    longer = {"position": [1.5, 3.5], "loss": [3.0, 4.0]}
    cells = [
        replace(cell, results=tuple(replace(run, by_position={"": usual, "@2x": longer}) for run in cell.results))
        for cell in data.comparison.cells
    ]
    figure = position(replace(data, comparison=replace(data.comparison, cells=tuple(cells))))
    assert figure is not None and list(figure.views) == ["as in training", "2x"]
    ends = [[row for row in values_in(view) if set(row) == {"x"}] for view in figure.views.values()]
    assert ends == [[], [{"x": 2.0}]]
    points = [row for row in values_in(figure.views["2x"]) if "mean" in row]
    assert [(row["x"], row["mean"]) for row in points] == [(1.5, 3.0), (3.5, 4.0)] * 2


def test_long_names_are_wrapped_or_shortened(tmp_path: Path):
    long = f"first {'word ' * 12}last"
    drawn = {f.name: f for _, found in sections(made(tmp_path, {"model.block": ["a", long]})) for f in found}
    svg = vl_convert.vegalite_to_svg({**drawn["forest_quality"].views["loss"], "width": 300, "config": PRINT})
    lines = re.findall(r"<tspan[^>]*>([^<]*)</tspan>", svg)
    assert len(lines) == 2 and " ".join(line.strip() for line in lines) == f"block={long}"
    svg = vl_convert.vegalite_to_svg({**drawn["curves_training"].views["by tokens"], "width": 300, "config": PRINT})
    assert re.search(r">block=first[^<]*…[^<]*last<", svg) and f"{long}<" not in svg


def test_links_to_runs_are_relative_to_the_page(data: ReportData, tmp_path: Path):
    for file in (data.root / "made" / "report.html", tmp_path / "away" / "page.html"):
        links = [link for link in Seen(text_of(data, file)).links() if not link.startswith("#")]
        assert len(links) == 24
        for link in links:
            assert (file.parent / unquote(link) / "run.json").is_file()


def test_cell_lists_settings_that_differ_from_the_baseline(page: str):
    text = html.unescape(re.sub(r"<[^>]+>", "", page[page.index('<section id="runs">') :]))
    assert "model.block: pre_norm → post_norm" in text and "optimizer.lr: 0.0001 → 0.1" in text
    assert "seed: " not in text


def test_hostile_texts_stay_texts(hostile: ReportData):
    page = text_of(hostile)
    seen = Seen(page)
    assert "img" not in {tag for tag, _ in seen.elements}
    assert HOSTILE[0] in seen.text and "{{7*7}}" in seen.text and "49" not in re.findall(r"=(\d+)", seen.text)
    assert not re.search("[\x1b\u202e]", page[: page.index("<script>")])
    assert f"failed {HOSTILE[0]}" in " ".join(seen.text.split())
    data = seen.blocks["script"][0]
    assert "<" not in data and HOSTILE[0] in json.dumps(json.loads(data))


def test_pictures_are_written_without_a_browser(hostile: ReportData, tmp_path: Path):
    drawn = [figure for _, found in sections(hostile) for figure in found if figure.name in ("forest_quality", "depth")]
    files = write(drawn, tmp_path)
    views = sum(len(figure.views) for figure in drawn)
    assert len(files) == 2 * views == len(set(files))
    for file in files:
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
        else:
            assert "<img" not in file.read_text() and "<path" in file.read_text()


def test_figures_for_a_paper_are_a_column_wide_with_embedded_outlines(data: ReportData, tmp_path: Path):
    drawn = [figure for _, found in sections(data) for figure in found]
    files = write(drawn, tmp_path, paper=True)
    assert len(files) == len(set(files)) == sum(len(figure.views) for figure in drawn)
    for file in files:
        content = file.read_bytes()
        box = re.search(rb"/MediaBox *\[0 0 ([\d.]+) ([\d.]+)\]", content)
        assert box is not None and float(box[1]) == pytest.approx(234, abs=0.5), file.name  # 3.25 inches
        assert 0 < float(box[2]) < 648, "higher than a page"
        assert b"/FontFile2" in content and b"/Type3" not in content, "TrueType, which every publisher takes"


def test_axes_name_their_units(data: ReportData):
    (curves, *_) = dict(sections(data))["Learning curves"]
    assert '"title": "loss in nats per token"' in json.dumps(next(iter(curves.views.values())))


def test_figures_for_a_paper_need_a_folder(data: ReportData, tmp_path: Path, ablate: Ablate):
    answer = ablate("report", "made", "--runs", data.root, "--paper")
    assert answer.code == 2 and "add --figures DIR" in answer.err
    answer = ablate("report", "made", "--runs", data.root, "--figures", tmp_path / "figures", "--paper", "--json")
    assert answer.code == 0 and {Path(file).suffix for file in answer.json["figures"]} == {".pdf"}


def test_command_writes_the_page_and_prints_its_path(data: ReportData, tmp_path: Path, ablate: Ablate):
    answer = ablate("report", "made", "--runs", data.root)
    file = data.root / "made" / "report.html"
    assert (answer.code, answer.out) == (0, f"{file}\n")
    answer = ablate("report", "made", "--runs", data.root, "--output", tmp_path / "new" / "p.html", "--json")
    assert answer.json == {"grid": "made", "file": str(tmp_path / "new" / "p.html"), "figures": []}
    assert (tmp_path / "new" / "p.html").is_file()
    (tmp_path / "file").touch()
    answer = ablate("report", "made", "--runs", data.root, "--output", tmp_path / "file" / "p.html")
    assert answer.code == 5 and answer.err.count("\n") == 1


def test_front_keeps_the_points_that_no_other_beats():
    cells = [{"cost": c, "mean": m} for c, m in ((1, 5), (2, 3), (2, 4), (3, 3), (4, 1), (5, 2))]
    assert front(cells, cheap_is_low=True, good_is_low=True) == [cells[0], cells[1], cells[4]]
    assert front(cells, cheap_is_low=False, good_is_low=True) == [cells[5], cells[4]]


def browse(file: Path, folder: Path, width: int, *options: str) -> tuple[str, str, set[str]]:
    """The page once its figures are drawn, what the console said, and the addresses that it asked for."""
    log = folder / "net.json"
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage",
             f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1200", "--virtual-time-budget=20000",
             "--enable-logging=stderr", f"--log-net-log={log}", *options, "--dump-dom", file.as_uri()]  # fmt: skip
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    events = [event.get("params") or {} for event in json.loads(log.read_text())["events"]]
    # What Chromium wants for itself has no page as its origin.
    asked = {event["url"] for event in events if event.get("initiator") not in (None, "not an origin")}
    return done.stdout, console, asked


@in_chromium
@pytest.mark.slow
def test_chromium_reports_requests_and_refused_scripts(page: str, tmp_path: Path):
    (tmp_path / "page.html").write_text('<img src="http://127.0.0.1:9/x.png">')
    assert browse(tmp_path / "page.html", tmp_path, 500)[2] == {"http://127.0.0.1:9/x.png"}
    (tmp_path / "page.html").write_text(page.replace("</main>", "</main><script>document.title = 1</script>"))
    assert "Content Security Policy" in browse(tmp_path / "page.html", tmp_path, 500)[1]


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1400])
def test_chromium_draws_every_figure_and_requests_nothing(data: ReportData, page: str, tmp_path: Path, width: int):
    dom, console, asked = browse(data.root / "made" / "report.html", tmp_path, width)
    assert console == ""
    assert re.search(r'<html[^>]* data-drawn="10"', dom)
    drawn = dom.partition("<script")[0]
    assert drawn.count("<svg") == 10 and drawn.count('role="graphics-symbol"') > 100
    assert not asked


@in_chromium
@pytest.mark.slow
def test_page_of_400_pixels_needs_no_sideways_scrolling(tmp_path: Path):
    # A window of Chromium is at least 500 pixels wide, a frame is not.
    long = " ".join(f"n_{number}" for number in range(20))
    data = made(tmp_path, {"model.block": ["pre_norm", "post_norm", long], "model.n_heads": [8, 1]})
    text_of(data)
    measure = """onload = () => setTimeout(() => {
        const page = frames[0].document.documentElement;
        const wide = [...frames[0].document.querySelectorAll("figure svg")].map((svg) => svg.clientWidth);
        document.title = [page.clientWidth, page.scrollWidth, Math.max(...wide)].join(" ");
    }, 5000);"""
    frame = f'<iframe width="400" height="800" src="{(data.root / "made" / "report.html").as_uri()}"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!doctype html>{frame}<script>{measure}</script>")
    dom, _, _ = browse(tmp_path / "frame.html", tmp_path, 1400, "--disable-web-security")
    found = re.search(r"<title>(\d+) (\d+) (\d+)</title>", dom)
    assert found is not None
    shown, whole, widest = map(int, found.groups())
    assert 380 <= shown <= 400
    assert whole == shown and 300 < widest <= shown


@in_chromium
@pytest.mark.slow
def test_hostile_texts_do_nothing_in_chromium(hostile: ReportData, tmp_path: Path):
    file = hostile.root / "made" / "report.html"
    text_of(hostile, file)
    dom, console, asked = browse(file, tmp_path, 1400)
    assert console == ""
    assert re.search(r'<html[^>]* data-drawn="[1-9]', dom) and "<img" not in dom.partition("<script")[0]
    assert not asked


def test_of_very_many_cells_those_that_differ_most_are_shown(tmp_path: Path) -> None:
    """Losses rise from cell to cell, so that the last of 80 differ most."""
    data = made(tmp_path, {"optimizer.lr": [1e-5 * 1.2**number for number in range(80)]}, n_seeds=2)
    page = text_of(data)
    labels = [cell.label for cell in data.comparison.cells]
    shown = [labels[0], *labels[-64:]]
    rows = re.findall(r'<th scope="row">(?:<span class="tag">baseline</span> )?([^<]+)<', page)
    assert rows == shown * (len(rows) // 65) and rows
    assert page.count("Of 80 cells, the baseline and the 64 that differ most from it in loss are shown;") > 4
    assert "`ablate table made --format csv` has all of them" in page
    views = {figure.name: next(iter(figure.views.values())) for _, of in sections(data) for figure in of}
    for name in ("forest_quality", "curves_validation", "depth", "tradeoff"):
        cells = {row["cell"] for rows in views[name]["datasets"].values() for row in rows if "cell" in row}
        assert cells <= {data.names[label] for label in shown} and len(cells) in (64, 65), name
    assert page.count('<details class="runs"') == 65


def test_page_of_few_cells_shows_all_of_them(tmp_path: Path) -> None:
    data = made(tmp_path, {"optimizer.lr": [1e-5 * 1.2**number for number in range(65)]}, n_seeds=1)
    assert data.shown is data.comparison and "are shown;" not in text_of(data)


def tuned_by(data: ReportData, *, independent: bool) -> ReportData:
    """With four trials of the learning rate for each cell, the last of which failed."""
    trials = [{"values": {"optimizer.lr": 10.0**-n}, "share": 1.0, "score": n or None} for n in (3, 2, 1, 0)]
    cells = [{"label": cell.label, "chosen": {"optimizer.lr": 0.1}, "at_edge": {}, "trials": trials}
             for cell in data.comparison.cells]  # fmt: skip
    tuning = {
        "grid": "made.tuning",
        "ended": True,
        "tried": {"optimizer.lr": ["0.001 to 1"]},
        "seeds": [7, 8],
        "search": ", 4 at random",
        "independent": independent,
        "cells": cells,
    }
    return replace(data, comparison=replace(data.comparison, tuning=tuning))


@pytest.mark.parametrize("independent", [True, False])
def test_what_tuning_tried_is_shown_with_bands_only_where_it_was_at_random(data: ReportData, independent: bool) -> None:
    (figure,) = dict(sections(tuned_by(data, independent=independent)))["Tuning"]
    assert list(figure.views) == ["optimizer.lr", *(["by number of trials"] if independent else [])]
    points = next(iter(figure.views["optimizer.lr"]["datasets"].values()))
    assert sorted({point["x"] for point in points}) == [0.001, 0.01, 0.1]
    assert ("has no bound there" in figure.caption) == independent
