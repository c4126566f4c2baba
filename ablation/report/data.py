"""What the runs of a grid learn from and are scored on, in words: the same below a table and in a plan."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .labels import listed, plain


def data_lines(descriptions: Sequence[Mapping[str, Any]], rows: bool = True) -> list[str]:
    """Up to two lines for each different task: counts and what was left out; then, with ``rows``, the first and last.

    ``descriptions`` are those of a manifest; see ``tasks.description.DataDescription``.
    """
    lines = []
    for facts in descriptions:
        cells = [plain(label) for label in facts.get("cells", ())]
        where = f" ({listed(cells)})" if len(descriptions) > 1 else ""
        lines.append(f"data{where}: {plain('; '.join(_sentences(facts)))}")
        if rows and "first" in facts and "last" in facts:
            lines.append(f"data{where}: first '{plain(facts['first'])}', last '{plain(facts['last'])}'")
    return lines


def _sentences(facts: Mapping[str, Any]) -> Iterable[str]:
    fingerprint = facts.get("fingerprint")
    yield f"{facts['source']} (fingerprint {fingerprint[:12]})" if fingerprint else str(facts["source"])
    if "note" in facts:
        yield facts["note"]
    yield ", ".join([_trains(facts), *_validates(facts)])
    cut = {part: facts[f"cut_{part}"] for part in ("training", "validation") if facts.get(f"cut_{part}")}
    if cut:
        yield f"cut after {facts['length']} tokens: {', '.join(f'{count:,} of {part}' for part, count in cut.items())}"
    if facts.get("unknown"):
        yield f"{facts['unknown']:.1%} of the validation tokens are unknown".replace("%", " %")
    if facts.get("n_classes"):
        yield _classes(facts)
    if facts.get("sets"):
        yield f"named sets: {', '.join(facts['sets'])}"
    if facts.get("vocabulary"):
        yield f"vocabulary {facts['vocabulary']:,}"
    if facts.get("duplicates"):
        items = "windows" if "windows" in facts else facts["items"]
        count, verb = facts["duplicates"], "is" if facts["duplicates"] == 1 else "are"
        yield f"{count:,} of the {items} that validate {verb} in training too"


def _trains(facts: Mapping[str, Any]) -> str:
    """``1,288 of 3,000 pairs train (length 10)``."""
    items, training, of = facts["items"], facts.get("training"), facts.get("of_training")
    if training is None:
        return f"{items} train"
    if of is None:
        return f"{training:,} {items} train"
    return f"{training:,} of {of:,} {items} train ({facts.get('left_out')})"


def _validates(facts: Mapping[str, Any]) -> Iterable[str]:
    validation, of = facts.get("validation"), facts.get("of_validation")
    if validation is None:
        return
    total = "" if of is None else f" of {of:,}"
    source = f" of {facts['validation_source']}" if "validation_source" in facts else ""
    windows = f" (windows: {facts['windows']:,} of {facts['length']})" if "windows" in facts else ""
    yield f"{validation:,}{total}{source} validate{windows}"


def _classes(facts: Mapping[str, Any]) -> str:
    names = ", ".join(repr(name) for name in facts.get("classes", ()))
    more = ", ..." if facts["n_classes"] > len(facts.get("classes", ())) else ""
    return f"{facts['n_classes']:,} classes: {names}{more}"
