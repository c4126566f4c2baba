"""The page of ``ablate inspect``: attention maps to look around in, what heads do, knock-outs, pruning, streams.

As the report's page it is one file that loads nothing. The maps are stored as bytes, 255ths of the weights.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode

from ...compare.inside import LOSS, CellInside, InsideComparison
from ...stats.contrast import plural
from ...store.files import unwritable
from .. import inside, labels
from . import figure
from .embedded import embedded, json_block, template
from .figure import Figure
from .inside_figures import Maps, map_figures, sections

MOST_WEIGHTS = 6_000_000
"""In a page: one byte each, so that it opens quickly."""


def write_inside(comparison: InsideComparison, maps: Maps, file: Path | None, pictures: Path | None) -> list[Path]:
    """Write the page to ``file`` and its figures into ``pictures``, either where given; returns the figures' files.

    Errors: StorageError.
    """
    with debug_mode(False):
        of_sections = sections(comparison)
        of_maps = map_figures(comparison, maps) if pictures is not None else []
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(render(comparison, maps, of_sections), encoding="utf-8")
        except OSError as error:
            raise unwritable(file, error) from None
    if pictures is None:
        return []
    try:
        return figure.write([*(each for _, figures in of_sections for each in figures), *of_maps], pictures)
    except OSError as error:
        raise unwritable(pictures, error) from None


def render(comparison: InsideComparison, maps: Maps, of_sections: Sequence[tuple[str, Sequence[Figure]]]) -> str:
    """The text of the page."""
    packed, note = pack(comparison, maps)
    figures = [each for _, of_section in of_sections for each in of_section]
    names = {cell.label: labels.plain(cell.label) for cell in comparison.cells}
    return template("inside.html").render(
        **embedded(figures, ["style.css", "inside.css"], ["inside.js"]),
        title=labels.plain(comparison.grid or next(iter(names.values()))),
        weights=json_block(packed),
        lead=inside.lead(comparison),
        size=f"{plural(len(comparison.cells), 'cell')}, {plural(max(len(c.seeds) for c in comparison.cells), 'seed')}",
        has_maps=any(seed["examples"] for cell in packed for seed in cell["seeds"]),
        maps_note=note,
        cells=[_cell(cell, comparison, names[cell.label]) for cell in comparison.cells],
        sections=of_sections,
        notes=inside.notes(comparison),
    )


def _cell(cell: CellInside, comparison: InsideComparison, name: str) -> dict[str, Any]:
    """What the template shows of a cell."""
    scores = inside.score_names(cell)
    even = next((head.even for head in cell.heads if head.scores), {})
    return {
        "name": name,
        "findings": inside.findings(cell, comparison),
        "scores": [labels.plain(score) for score in scores],
        "even": [inside.score([even[score]], score)[0] if score in even else "" for score in scores],
        "heads": [
            {
                "name": inside.head_name(head),
                "scores": [
                    (*inside.score(head.scores[score], score), score in head.roles)
                    if score in head.scores
                    else ("", "", False)
                    for score in scores
                ],
            }
            for head in cell.heads
            if head.scores
        ],
        "knockouts": inside.knockout_rows(cell),
        "others": [(name, labels.metric_name(name)) for name in cell.intact if name != LOSS],
    }


def pack(comparison: InsideComparison, maps: Maps) -> tuple[list[dict[str, Any]], str]:
    """The maps of every cell and seed for the page, and what was left out so that it stays small."""
    left, n_out = MOST_WEIGHTS, 0
    packed = []
    for cell in comparison.cells:
        seeds = []
        for seed, run in zip(cell.seeds, cell.runs, strict=True):
            examples = []
            for example in maps.get(run, ()):
                size = sum(len(each["queries"]) * len(each["keys"]) * len(each["weights"]) for each in example["maps"])
                if size > left:
                    n_out += 1
                    continue
                left -= size
                examples.append([_packed(each) for each in example["maps"]])
            seeds.append({"seed": seed, "examples": examples})
        packed.append({"cell": labels.plain(cell.label), "seeds": seeds})
    note = f"{plural(n_out, 'example')} of some seeds left out, so that the page stays small." if n_out else ""
    return packed, note


def _packed(layer: Mapping[str, Any]) -> dict[str, Any]:
    flat = [weight for head in layer["weights"] for row in head for weight in row]
    signed = any(weight < 0 for weight in flat)
    data = bytes((weight + 255) // 2 for weight in flat) if signed else bytes(flat)
    return {
        "name": labels.plain(f"{layer['stack']} layer {layer['layer']} {layer['sublayer']}".strip()),
        "queries": [_visible(token) for token in layer["queries"]],
        "keys": [_visible(token) for token in layer["keys"]],
        "heads": len(layer["weights"]),
        "signed": signed,
        "weights": base64.b64encode(data).decode(),
    }


def _visible(token: str) -> str:
    """A token without characters that are seen as nothing."""
    return labels.plain(token.replace(" ", "·").replace("\n", "↵").replace("\t", "→")) or "·"
