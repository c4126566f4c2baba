"""What tuning tried for each cell: the metric by the value of a setting, and what the best of fewer trials would be."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair

from ...compare.tuning_curve import CONFIDENCE, has_bands, tuning_curve
from ..labels import axis_title, plain
from .data import ReportData
from .figure import PLAIN, Figure, Spec, is_logarithmic
from .line_chart import Point, line_chart
from .series import styles_of_cells

_BY_TRIALS = "by number of trials"
_BANDS = (
    f"By number of trials: the median of the best of so many settings at random, with a band that holds with "
    f"{100 * CONFIDENCE:g} % for all numbers together; where it reaches the edge of the figure it has no bound there."
)
_NO_BANDS = "What the best of fewer trials would be needs pip install 'transformer-ablation[tuning]'."


def tuning(data: ReportData) -> Figure | None:
    """A view for each setting that has numbers, and one by trials where they were at random; None without tuning."""
    found = data.comparison.tuning
    if not found or not found["ended"] or not all(cell.get("trials") for cell in found["cells"]):
        return None
    shown = {cell.label for cell in data.shown.cells}
    trials = {data.names[cell["label"]]: cell["trials"] for cell in found["cells"] if cell["label"] in shown}
    views = {plain(path): view for path in found["tried"] if (view := _by_value(data, path, trials)) is not None}
    caption = [f"Mean over {len(found['seeds'])} tuning seeds, none of which is reported on."]
    if found.get("independent"):
        caption.append(_BANDS if has_bands() else _NO_BANDS)
        if has_bands():
            views[_BY_TRIALS] = _by_trials(data, trials)
    return Figure("tuning", "What tuning tried", " ".join([*caption, data.cut]).rstrip(), views) if views else None


def _by_value(data: ReportData, path: str, trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec | None:
    points: list[Point] = []
    for cell, of_cell in trials.items():
        for trial in sorted(of_cell, key=lambda each: str(each["values"][path])):
            value, score = trial["values"][path], trial["score"]
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            if score is not None and trial["share"] == 1:
                points.append({"cell": cell, "x": value, "mean": score, "low": score, "high": score})
    if not points:
        return None
    values = [point["x"] for point in points]
    logarithmic = is_logarithmic(min(values), max(values))
    scale = altair.Scale(type="log" if logarithmic else "linear", nice=False, padding=8)
    x = altair.X("x:Q", title=plain(path), scale=scale, axis=altair.Axis(format=",.2~r", tickCount=6))
    metric = axis_title(data.comparison.metric)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("x:Q", title=plain(path), format=PLAIN),
        altair.Tooltip("mean:Q", title=metric, format=PLAIN),
    ]
    return line_chart(points, styles_of_cells(data), x, metric, tooltip, spread="none")


def _by_trials(data: ReportData, trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Spec:
    curves = {cell: tuning_curve([trial["score"] for trial in of_cell], data.comparison.better or "lower")
              for cell, of_cell in trials.items()}  # fmt: skip
    scores = [trial["score"] for of_cell in trials.values() for trial in of_cell if trial["score"] is not None]
    room = 0.1 * (max(scores) - min(scores))
    bottom, top = min(scores) - room, max(scores) + room
    points: list[Point] = [
        {
            "cell": cell,
            "x": best.n,
            "mean": best.median,
            "low": bottom if best.low is None else max(best.low, bottom),
            "high": top if best.high is None else min(best.high, top),
        }
        for cell, curve in curves.items()
        for best in curve
        if best.median is not None
    ]
    metric = axis_title(data.comparison.metric)
    tooltip = [
        altair.Tooltip("cell:N", title="cell"),
        altair.Tooltip("x:Q", title="trials"),
        altair.Tooltip("mean:Q", title=f"median of the best {metric}", format=PLAIN),
    ]
    return line_chart(
        points,
        styles_of_cells(data),
        altair.X(
            "x:Q",
            title="trials at random",
            axis=altair.Axis(tickMinStep=1, format="d"),
            scale=altair.Scale(zero=False, nice=False, padding=8),
        ),
        metric,
        tooltip,
        domain=(bottom, top),
        spread="band",
    )
