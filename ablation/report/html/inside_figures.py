"""Figures of what is inside trained models: knock-outs, pruning, distances, streams, and maps as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair

from ...compare.inside import LOSS, InsideComparison
from ...compare.measures import measures
from .. import inside, labels
from . import figure
from .figure import Figure, rows, spec, spread_tooltip
from .forest import chart
from .line_chart import Point, line_chart
from .lines import over_seeds
from .series import Styles, styles_of_names

_FAMILIES = {
    "heads": "one head",
    "sublayers": "one sublayer",
    "layers": "one layer",
    "positions": "the positions",
    "features": "one feature of the embedding",
}
Maps = Mapping[str, Sequence[Mapping[str, Any]]]
"""By run, its examples; see ``inspect.maps.maps_as_data``."""


def sections(comparison: InsideComparison) -> list[tuple[str, list[Figure]]]:
    """The figures by the heading of their section."""
    possible: list[tuple[str, list[Figure | None]]] = [
        ("What is lost", [knockouts(comparison), pruning(comparison)]),
        ("Distance", [_distances(comparison)]),
        ("Streams", [_lens(comparison), _norms(comparison), *_similarities(comparison)]),
    ]
    found = [(title, [each for each in figures if each is not None]) for title, figures in possible]
    return [(title, figures) for title, figures in found if figures]


def knockouts(comparison: InsideComparison) -> Figure | None:
    """What the loss rises by without each part, a view for each cell and kind of part."""
    measure = measures([LOSS], {}, {})[LOSS]
    views = {}
    for cell in comparison.cells:
        table = inside.knockout_rows(cell)
        for family, title in _FAMILIES.items():
            chosen = [(row, each) for row, each in zip(table, cell.knockouts, strict=True) if each.family == family]
            if not chosen:
                continue
            intervals, dots = [], []
            for row, each in chosen:
                contrast = each.contrasts[LOSS]
                low, high = contrast.interval or (None, None)
                intervals.append(
                    {
                        "cell": row.part,
                        "delta": contrast.delta or 0.0,
                        "low": low,
                        "high": high,
                        "verdict": row.verdict,
                        "color": figure.TONES[row.tone],
                    }
                )
                dots += [
                    {"cell": row.part, "delta": difference, "replicate": seed}
                    for seed, difference in zip(cell.seeds, contrast.differences, strict=False)
                ]
            of_cell = f"{labels.plain(cell.label)}: " if len(comparison.cells) > 1 else ""
            views[f"{of_cell}{title}"] = chart(measure, intervals, dots, "loss without it minus loss with it")
    caption = (
        "How much the loss rises without a part: mean and interval over seeds, a dot for each seed; the gray band is "
        "the margin."
    )
    return Figure("knockouts", "Without one part", caption, views, of_cells=False) if views else None


def pruning(comparison: InsideComparison) -> Figure | None:
    """The loss against the share of heads that are gone, a line for each cell."""
    points = []
    for cell in comparison.cells:
        if cell.pruning:
            points.append(over_seeds(labels.plain(cell.label), 0.0, [0.0] * len(cell.seeds)))
        for pruned in cell.pruning:
            losses = zip(pruned.measures[LOSS], cell.intact[LOSS], strict=True)
            points.append(over_seeds(labels.plain(cell.label), pruned.share, [gone - whole for gone, whole in losses]))
    if not points:
        return None
    x = altair.X("x:Q", title="share of heads taken out", axis=altair.Axis(format="%", tickCount=6))
    tooltip = [altair.Tooltip("cell:N", title="cell"), altair.Tooltip("x:Q", format=".0%"), *spread_tooltip()]
    caption = (
        "Heads taken out one after another, each time the one that is missed least. Mean over seeds, with the range. "
        "The order is chosen on the same validation set."
    )
    view = line_chart(points, _styles(points), x, "rise of the loss", tooltip, spread="band")
    return Figure("pruning", "Without more and more heads", caption, {"": view})


def _distances(comparison: InsideComparison) -> Figure | None:
    """How far back the heads look, on average, layer by layer."""
    points = []
    for cell in comparison.cells:
        by_layer: dict[int, list[float]] = {}
        for head in cell.heads:
            if head.sublayer == "mixer" and "distance" in head.scores:
                by_layer.setdefault(head.layer, []).append(sum(head.scores["distance"]) / len(head.scores["distance"]))
        points += [over_seeds(labels.plain(cell.label), layer, values) for layer, values in by_layer.items()]
    caption = (
        "Mean distance between a query and the keys it attends to, over heads; from the nearest head to the farthest."
    )
    return _by_layer("distances", "How far heads look", caption, points, "tokens")


def _lens(comparison: InsideComparison) -> Figure | None:
    points = [
        over_seeds(labels.plain(cell.label), layer, measures[LOSS])
        for cell in comparison.cells
        for layer, measures in cell.logit_lens.items()
    ]
    caption = (
        "The loss if the last norm and the LM head read the stream after each layer (logit lens); the last is the "
        "model's."
    )
    return _by_layer("logit_lens", "What could be read so far", caption, points, "loss")


def _by_layer(name: str, title: str, caption: str, points: Sequence[Point], y_title: str) -> Figure | None:
    """A line per cell over the layers; None where there is one layer."""
    if len({point["x"] for point in points}) < 2:
        return None
    x = altair.X("x:Q", title="layer", axis=altair.Axis(tickMinStep=1, format="d"))
    tooltip = [altair.Tooltip("cell:N", title="cell"), altair.Tooltip("x:Q", title="layer"), *spread_tooltip()]
    return Figure(name, title, caption, {"": line_chart(points, _styles(points), x, y_title, tooltip)})


def _norms(comparison: InsideComparison) -> Figure | None:
    points = []
    for cell in comparison.cells:
        points += [
            over_seeds(labels.plain(cell.label), index, values, part=part)
            for index, (part, values) in enumerate(cell.norms.items())
        ]
    if not points:
        return None
    x = altair.X("x:Q", title="sublayer, from the first", axis=altair.Axis(tickMinStep=1, format="d"))
    tooltip = [altair.Tooltip("cell:N", title="cell"), altair.Tooltip("part:N", title="part"), *spread_tooltip()]
    view = line_chart(points, _styles(points), x, "norm of what is added / of the stream", tooltip)
    caption = "How much each sublayer adds, relative to the stream after its layer. Mean over seeds, with the range."
    return Figure("norms", "What each sublayer adds", caption, {"": view})


def _styles(points: Sequence[Point]) -> Styles:
    return styles_of_names([point["cell"] for point in points])


def _similarities(comparison: InsideComparison) -> list[Figure | None]:
    views = {}
    for each in comparison.similarities:
        values = [
            {"one": one, "other": other, "cka": value}
            for one, row in each.values.items()
            for other, value in row.items()
        ]
        one, other = labels.plain(each.one), labels.plain(each.other)
        title = f"{one}, over seeds" if one == other else f"{one} and {other}"
        order_one, order_other = list(each.values), list(next(iter(each.values.values())))
        base = altair.Chart(rows(values)).encode(
            x=altair.X("other:N", sort=order_other, title=other),
            y=altair.Y("one:N", sort=order_one, title=one),
        )
        squares = base.mark_rect().encode(
            color=altair.Color("cka:Q", scale=altair.Scale(domain=[0, 1], scheme="blues"), legend=None),
            tooltip=["one:N", "other:N", altair.Tooltip("cka:Q", format=".2f")],
        )
        numbers = base.mark_text().encode(
            text=altair.Text("cka:Q", format=".2f"),
            color=altair.condition("datum.cka > 0.55", altair.value("white"), altair.value("#1d2430")),
        )
        views[title] = spec(altair.layer(squares, numbers), height=max(120, 40 * len(order_one)))
    if not views:
        return [None]
    caption = (
        "Linear CKA of the streams after two layers, averaged over pairs of seeds: 1 where one is the other rotated."
    )
    return [Figure("similarity", "How alike layers are", caption, views, of_cells=False)]


def map_figures(comparison: InsideComparison, maps: Maps) -> list[Figure]:
    """The maps of the first example in the first seed of each cell as pictures, a view for each sublayer."""
    figures = []
    for number, cell in enumerate(comparison.cells):
        examples = maps.get(cell.runs[0], ())
        views = {}
        for layer in examples[0]["maps"] if examples else ():
            values = [
                {"head": f"head {head}", "query": query, "key": key, "weight": weight / 255}
                for head, rows_of in enumerate(layer["weights"])
                for query, row in enumerate(rows_of)
                for key, weight in enumerate(row)
                if weight
            ]
            if not values:
                continue
            map_of_heads = (
                altair.Chart(rows(values))
                .mark_rect()
                .encode(
                    x=altair.X("key:O", title="key", axis=altair.Axis(labels=False, ticks=False)),
                    y=altair.Y("query:O", title="query", axis=altair.Axis(labels=False, ticks=False)),
                    color=altair.Color("weight:Q", scale=altair.Scale(scheme="blues"), legend=None),
                )
                .properties(width=150, height=150)
                .facet(altair.Facet("head:N", title=None), columns=4)
            )
            specification = map_of_heads.to_dict(validate=False)
            specification.pop("config", None)
            name = labels.plain(f"{layer['stack']} layer {layer['layer']} {layer['sublayer']}".strip())
            views[name] = {**specification, "datasets": {str(rows(values).name): values}}
        if views:
            title = f"Attention: {labels.plain(cell.label)}"
            figures.append(Figure(f"maps_{number + 1}", title, "", views, of_cells=False))
    return figures
