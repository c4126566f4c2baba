"""The page: self-contained, with every figure that there is data for, and safe with any text from outside."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from support.pages import HOSTILE, Seen, expanded, figures_of, file_of, made, text_of, values_in
from support.small_grids import Ablate

from ablation.report.html.appendix import methods
from ablation.report.html.data import ReportData
from ablation.report.html.figure import PRINT, Figure, file_names, narrowed, write
from ablation.report.html.lines import position
from ablation.report.html.page import sections
from ablation.report.html.tradeoff import front


def test_page_is_self_contained(page: str):
    seen = Seen(page)
    assert not [name for _, found in seen.elements for name in found if name in ("src", "srcset", "action", "data")]
    assert len(page.encode()) < 1_200_000


def test_page_links_to_nothing_but_itself_so_that_it_can_be_mailed(page: str):
    seen = Seen(page)
    named = {found.get("id") for _, found in seen.elements}
    assert seen.links() and all(link.startswith("#") and link[1:] in named for link in seen.links())


def test_policy_allows_only_the_scripts_of_the_page(page: str):
    seen = Seen(page)
    policy = next(found["content"] for tag, found in seen.elements if found.get("http-equiv"))
    assert policy is not None and "unsafe" not in policy and "default-src 'none'" in policy
    data, library, *scripts = seen.blocks["script"]
    assert json.loads(expanded(data)) and len(scripts) == 2
    for text in [expanded(library), *scripts, *seen.blocks["style"]]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert not [name for _, found in seen.elements for name in found if name.startswith("on") or name == "style"]


def test_page_has_every_figure_that_there_is_data_for(page: str):
    assert list(figures_of(page)) == [
        "forest_quality", "forest_stability", "interaction", "effects", "curves_validation", "curves_training",
        "length", "learning_rate", "depth", "tradeoff",
    ]  # fmt: skip


def test_forest_has_a_dot_per_seed_interval_and_margin(page: str, data: ReportData):
    values = values_in(figures_of(page)["forest_quality"][0])
    label = data.names[data.comparison.cells[4].label]
    of_cell = [row for row in values if row.get("cell") == label]
    contrast = data.comparison.cells[4].metrics["loss"].contrast
    assert contrast is not None and contrast.interval is not None
    assert [row["delta"] for row in of_cell if "replicate" in row] == pytest.approx(contrast.differences, rel=1e-5)
    ((low, high),) = {(row["low"], row["high"]) for row in of_cell if "low" in row}
    assert (low, high) == pytest.approx(contrast.interval, rel=1e-5)
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
    priced = [row["cost"] for row in values_in(figures["tradeoff"][0]) if "cell" in row and "label" not in row]
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
        found[1]["train/loss"] = 1000.0
    drawn = next(f for _, found in sections(data) for f in found if f.name == "curves_training")
    assert "Cut off at the top: block=c." in drawn.caption
    layers = [
        layer for layer in drawn.views["by tokens"]["layer"] if "domain" in layer["encoding"]["y"].get("scale", {})
    ]
    assert {3 < layer["encoding"]["y"]["scale"]["domain"][1] < 10 for layer in layers} == {True}
    assert all(layer["mark"]["clip"] for layer in layers)


def test_loss_before_training_does_not_flatten_the_curves(tmp_path: Path):
    data = made(tmp_path, {"model.block": ["a", "b"]})
    for of_cell in data.rows.values():
        for rows in of_cell.values():
            rows.insert(0, {"step": 0, "tokens": 1, "seconds": 0.01, "train/loss": 50.0})
    drawn = next(f for _, found in sections(data) for f in found if f.name == "curves_training")
    tops = {layer["encoding"]["y"]["scale"]["domain"][1] for layer in drawn.views["by tokens"]["layer"][:2]}
    assert len(tops) == 1 and tops.pop() < 4
    assert "can be seen by zooming out" in drawn.caption and "Cut off" not in drawn.caption


def test_single_evaluation_has_no_curve(tmp_path: Path):
    data = made(tmp_path, {"model.block": ["a", "b"]})
    for of_cell in data.rows.values():
        for rows in of_cell.values():
            del rows[2]
    assert "curves_validation" not in {figure.name for _, found in sections(data) for figure in found}


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
    points = [row for row in values_in(figure.views["2x"]) if "low" in row]
    assert [(row["x"], row["mean"]) for row in points] == [(1.5, 3.0), (3.5, 4.0)] * 2


def test_long_names_are_shortened_in_the_middle(tmp_path: Path):
    long = f"first {'word ' * 12}last"
    drawn = {f.name: f for _, found in sections(made(tmp_path, {"model.block": ["a", long]})) for f in found}
    for figure, view in (("forest_quality", "loss"), ("curves_training", "by tokens")):
        svg = vl_convert.vegalite_to_svg({**drawn[figure].views[view], "width": 300, "config": PRINT})
        assert re.search(r">first[^<]*…[^<]*last<", svg) and f"{long}<" not in svg


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
    assert re.fullmatch("[A-Za-z0-9+/=]+", data) and HOSTILE[0] in json.dumps(json.loads(expanded(data)))


def test_pictures_are_written_without_a_browser(hostile: ReportData, tmp_path: Path):
    drawn = [figure for _, found in sections(hostile) for figure in found if figure.name in ("forest_quality", "depth")]
    files = write(drawn, tmp_path)
    views = sum(len(figure.views) for figure in drawn)
    assert len(files) == 3 * views == len({file.name.lower() for file in files})
    for file in files:
        if file.suffix == ".svg":
            assert "<img" not in file.read_text() and "<path" in file.read_text()
            assert "currentColor" not in file.read_text()
        else:
            assert file.read_bytes().startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[file.suffix])


def test_numbers_of_axes_are_written_out(tmp_path: Path):
    data = made(tmp_path, {"model.block": ["a", "b"], "optimizer.lr": [1e-5, 1e-4, 1e-3, 1e-2]}, n_seeds=2)
    for of_cell in data.rows.values():
        for rows in of_cell.values():
            for row in rows:
                row["tokens"] *= 123_456
    texts = set[str]()
    for _, found in sections(data):
        for figure in found:
            for view in figure.views.values():
                texts |= {*re.findall(r"<text[^>]*>([^<]*)</text>", vl_convert.vegalite_to_svg({**view, "width": 600}))}
    levels = {level for cell in data.comparison.cells for level in cell.levels.values()}  # as the grid names them
    numbers = {text for text in texts if re.match(r"[-+\u2212]?\d", text)} - levels
    assert {"0.00001", "tokens seen, millions"} <= texts and len(numbers) > 30
    assert not [number for number in numbers if not re.fullmatch(r"[-+\u2212]?[\d,.]+\u00d7?", number)]


def test_pictures_are_named_by_their_measures(data: ReportData, tmp_path: Path):
    drawn = [figure for _, found in sections(data) for figure in found if figure.name == "forest_stability"]
    names = [file.name for file in write(drawn, tmp_path)]
    assert "forest_stability_gradient_norm_max.svg" in names and "forest_stability_gradient_norm_max.pdf" in names


def test_names_of_pictures_are_never_the_same_twice():
    views: dict[str, Any] = {title: {} for title in ("loss", "Loss", "loss/", "", "a b", "a/b")}
    names = [name.lower() for name in file_names(Figure("forest", "", "", views))]
    assert len(set(names)) == len(names) and not [name for name in names if re.search(r"[^a-z0-9._@]", name)]


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


def test_figures_for_a_paper_name_cells_by_their_levels_and_break_titles():
    labels = ["baseline", "position=learned_linear feedforward=maxout", "position=rope feedforward=mlp(a=1, b=2)"]
    x = {"field": "delta", "title": ["loss in nats per token minus the baseline's", "lower is better"]}
    view = {
        "datasets": {"rows": [{"label": label} for label in labels]},
        "params": [{"name": "label_width", "value": 230}],
        "layer": [{"encoding": {"x": dict(x)}}, {"encoding": {"x": dict(x), "y": {"field": "cell"}}}],
    }
    narrow = narrowed(view, 351)
    shown = [row["label"] for row in narrow["datasets"]["rows"]]
    assert shown == ["baseline", "learned_linear maxout", "rope mlp(a=1, b=2)"]
    (width,) = (parameter["value"] for parameter in narrow["params"])
    assert len(max(shown, key=len)) * 6.6 < width < 0.46 * 351
    titles = [layer["encoding"]["x"]["title"] for layer in narrow["layer"]]
    assert titles[0] == titles[1] and " ".join(titles[0]) == " ".join(x["title"])
    assert len(titles[0]) > 2 and max(map(len, titles[0])) * 6.6 < 351 - width
    alike = {**view, "datasets": {"rows": [{"label": f"position={name} x=a" * 3} for name in ("rope", "t5")]}}
    alike["datasets"]["rows"].append({"label": "norm=rope a" * 3})
    assert len({row["label"] for row in narrowed(alike, 351)["datasets"]["rows"]}) == 3


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
    file = file_of(data)
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


def test_of_very_many_cells_those_that_differ_most_are_shown(tmp_path: Path) -> None:
    """Losses rise from cell to cell, so that the last of 80 differ most."""
    data = made(tmp_path, {"optimizer.lr": [1e-5 * 1.2**number for number in range(80)]}, n_seeds=2)
    page = text_of(data)
    labels = [cell.label for cell in data.comparison.cells]
    shown = [labels[0], *labels[-64:]]
    rows = re.findall(r'<tr data-cell="([^"]+)"', page)
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
