"""Where a page comes from: the grid's file, when its runs were trained, and by which code."""

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from ...store.code import commit, package_source
from ...store.files import read_json
from ...store.results import RunResult
from ...store.runs import Store
from ..labels import plain


def grid_file(store: Store, grid: str) -> str:
    """The grid's file as it was planned, without characters that a page should not hold; empty where it is gone."""
    try:
        text = (store.grid_directory(grid) / "grid.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "".join(
        character
        for character in text.expandtabs(2)
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )


def dates(store: Store, run_ids: Iterable[str]) -> str:
    """``runs 2026-11-28 to 2026-11-29, page 2026-11-30 14:05 UTC``: when runs began, of those that say, and now."""
    begun = set()
    for run_id in run_ids:
        attempt = read_json(store.directory(run_id) / "attempt.json")
        if isinstance(attempt, dict) and isinstance(attempt.get("started"), str):
            begun.add(plain(attempt["started"])[: len("2026-11-28")])
    page = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    if not begun:
        return f"page {page}"
    first, last = min(begun), max(begun)
    return f"runs {first if first == last else f'{first} to {last}'}, page {page}"


def code(runs: Sequence[RunResult]) -> str:
    """The commit of the code that made the page, those of the runs, and whether the runs' code is that of today."""
    sources = {run.code["source"] for run in runs if "source" in run.code}
    commits = sorted({plain(run.record["commit"]) for run in runs if "commit" in run.record})
    known = commit()
    parts = [f"page by commit {known}"] if known else []
    parts += [f"runs by commit {' and '.join(commits)}"] if commits else []
    if sources == {package_source()}:
        parts.append(f"the code that trained the runs is this one (fingerprint {package_source()})")
    elif sources:
        parts.append(f"the runs were trained by code with fingerprint {' or '.join(sorted(sources))}, "
                     f"which today is {package_source()}")  # fmt: skip
    return "; ".join(parts)
