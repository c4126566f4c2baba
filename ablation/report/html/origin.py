"""Where a page comes from: the grid's file, when its runs were trained, and by which code."""

import subprocess
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache

from ...store.code import PACKAGE, package_source
from ...store.files import read_json
from ...store.runs import Store
from ..labels import plain

_GIT_SECONDS = 5.0


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


def code(versions: Iterable[Mapping[str, str]]) -> str:
    """The commit of the code that made the page, and whether it is that of the runs, whose fingerprints are given."""
    sources = {version["source"] for version in versions if "source" in version}
    known = commit()
    parts = [f"commit {known}"] if known else []
    if sources == {package_source()}:
        parts.append(f"the code that trained the runs is this one (fingerprint {package_source()})")
    elif sources:
        parts.append(f"the runs were trained by code with fingerprint {' or '.join(sorted(sources))}, "
                     f"which today is {package_source()}")  # fmt: skip
    return "; ".join(parts)


@cache
def commit() -> str:
    """The commit of the package's clone, and whether files differ from it; empty where there is no clone."""
    if not (PACKAGE.parent / ".git").exists():
        return ""
    head, changes = _git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if head is None:
        return ""
    return head if not changes else f"{head} with changes that are not committed"


def _git(*words: str) -> str | None:
    """The answer of git about the package's clone, None where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *words], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
