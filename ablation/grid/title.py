"""The name of a grid and what it asks, from its file alone: what a command can say before it has planned anything."""

from pathlib import Path

from ..yaml import read

LONGEST_QUESTION = 300


def title(file: Path) -> str:
    """``quickstart: What does the place of the norm do?``; of what is no grid file, its name. Errors: InputError."""
    if file.suffix not in (".yaml", ".yml") or not file.is_file():
        return file.name
    document = read(file)
    found = document.value if isinstance(document.value, dict) else {}
    question = found.get("question") or first_question(document.content)
    return f"{found.get('name', file.stem)}: {question}" if question else str(found.get("name", file.stem))


def first_question(content: bytes) -> str | None:
    """The first line of the comment at the top of a file that is a question."""
    for line in content.decode("utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            return None
        if (text := line.lstrip("# ").strip()).endswith("?"):
            return text[:LONGEST_QUESTION]
    return None
