"""What can be ablated, as the registry tells it."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..registry import REGISTRY, ComponentConfig

BEGIN, END = "<!-- components: written by `ablate components --readme` -->", "<!-- end of components -->"


@dataclass(frozen=True)
class Row:
    """One component."""

    slot: str
    name: str
    meaning: str
    source: str
    hyperparameters: dict[str, Any]
    """Names and defaults; a default that must be given is ``required``."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def settings(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.hyperparameters.items())


def rows() -> list[Row]:
    """Every component of every slot, as registered."""
    from ..config import experiment  # noqa: F401  fills the slots
    from ..grid import design  # noqa: F401
    from ..models import checkpoints  # noqa: F401

    return [
        Row(slot, name, config.meaning(), config.source, _defaults(config))
        for slot, members in sorted(REGISTRY.items())
        for name, config in members.items()
    ]


def _defaults(config: type[ComponentConfig]) -> dict[str, Any]:
    plain = {}
    for name in config.hyperparameters():
        field = config.model_fields[name]
        default = "required" if field.is_required() else field.default
        if isinstance(default, ComponentConfig):
            default = default.name
        elif isinstance(default, float):
            default = float(f"{default:.6g}")
        elif isinstance(default, tuple):
            default = list(default)
        plain[name] = default
    return plain


def show(rows: list[Row]) -> None:
    """Print them, a block for each slot."""
    console = Console()
    for slot in dict.fromkeys(row.slot for row in rows):
        table = Table(
            title=slot, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2, 0, 0)
        )
        table.add_column(no_wrap=True, min_width=13)
        table.add_column(ratio=1)
        for row in rows:
            if row.slot == slot:
                text = Text(row.meaning)
                text.append(f"\n{row.settings}" if row.settings else "", style="cyan")
                text.append(f"\n{row.source}" if row.source else "", style="dim")
                table.add_row(row.name, text)
        console.print(table)
        console.print()


def markdown(rows: list[Row]) -> str:
    """The table of the README."""
    lines = ["| slot | name | what it is | hyper-parameters | source |", "| --- | --- | --- | --- | --- |"]
    last = None
    for row in rows:
        cells = [row.slot if row.slot != last else "", f"`{row.name}`", row.meaning, row.settings, row.source]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        last = row.slot
    return "\n".join(lines)


def insert(text: str, rows: list[Row]) -> str:
    """``text`` with the table between its marks brought up to date. Errors: InputError when the marks are not there."""
    if BEGIN not in text or END not in text:
        raise InputError(f"--readme: the file has no lines {BEGIN!r} and {END!r} to write between")
    return re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n{markdown(rows)}\n{END}", text, flags=re.S
    )
