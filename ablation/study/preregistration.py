"""Preregistration: what a grid declared before its first run, and what was changed after runs had ended.

Metric, margins, cells, seeds and looks are hashed into the manifest when training begins. Whoever sees results and
then changes one of these has more ways to find a difference than the 5 % count (Simmons et al. 2011,
doi:10.1177/0956797611417632), so that every later change is said beside the table.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from ..stats.contrast import plural

DECLARED = ("metric", "margins", "cells", "seeds", "interim_looks", "variance")


def declared(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest declares; seeds only where no looks are planned, which decide on them."""
    cells = [cell["label"] for cell in manifest["cells"]]
    looks = list(manifest.get("interim_looks") or ())
    return {
        "metric": manifest["metric"],
        "margins": dict(manifest.get("margins") or {}),
        "cells": cells,
        "seeds": None if looks else list(manifest["seeds"]),
        "interim_looks": looks,
        "variance": manifest.get("variance", "shared"),
    }


def register(manifest: Mapping[str, Any], earlier: Mapping[str, Any] | None, n_ended: int) -> dict[str, Any]:
    """The entry of a manifest; ``n_ended`` of the runs of the ``earlier`` one have ended, and so may have been seen."""
    now = declared(manifest)
    digest = sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()
    entry: dict[str, Any] = {"sha256": digest, "declared": now, "changes": []}
    before = (earlier or {}).get("preregistration")
    if not before:
        return entry
    assert earlier is not None
    ids = [{run["id"] for cell in each["cells"] for run in cell["runs"]} for each in (earlier, manifest)]
    if ids[0].isdisjoint(ids[1]):  # another study under the same name
        return entry
    entry["changes"] = list(before["changes"])
    if n_ended and (what := _changed(before["declared"], now)):
        entry["changes"].append({"after": n_ended, "what": what})
    return entry


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for key in DECLARED:
        one, other = before.get(key), now.get(key)
        if one == other or (key == "seeds" and None in (one, other)):
            continue
        if key == "cells":
            added, removed = _without(now[key], before[key]), _without(before[key], now[key])
            parts = [f"{len(labels)} {word}" for labels, word in ((added, "added"), (removed, "removed")) if labels]
            found.append(f"cells ({', '.join(parts) or 'their order'})")
        elif key == "seeds":
            found.append(f"seeds ({_words(one)} -> {_words(other)})")
        else:
            found.append(f"{key.replace('_', ' ')} ({_words(one)} -> {_words(other)})")
    return found


def _without(labels: Sequence[str], others: Sequence[str]) -> list[str]:
    return [label for label in labels if label not in others]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {amount}" for name, amount in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or "none" if len(value) < 6 else plural(len(value), "seed")
    return str(value)
