"""What can be ablated, as the registry tells it."""

import re
from contextlib import suppress
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
    cacheable: bool | None
    """Of a mixer: whether a cache can serve it."""
    backends: list[str] | None
    """Of a mixer that leaves its sums to one: those that carry it as it is without further settings."""
    carries: list[str] | None
    """Of a backend: what not every one of them can do."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def settings(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.hyperparameters.items())

    @property
    def abilities(self) -> str:
        """What it can, in a few words."""
        if self.carries is not None:
            return f"carries {', '.join(self.carries) or 'nothing more'}"
        if self.cacheable is None:
            return ""
        cache = "cache" if self.cacheable else "no cache"
        return cache if self.backends is None else f"{cache}; {', '.join(self.backends)}"


def rows() -> list[Row]:
    """Every component of every slot, as registered."""
    from .. import checkpoints  # noqa: F401
    from ..bench import probes  # noqa: F401
    from ..config import experiment  # noqa: F401  fills the slots
    from ..grid import design  # noqa: F401

    return [
        Row(slot, name, config.summary(), config.source, _defaults(config), *_abilities(config, name))
        for slot, members in sorted(REGISTRY.items())
        for name, config in members.items()
    ]


def _defaults(config: type[ComponentConfig[Any]]) -> dict[str, Any]:
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


def _abilities(config: type[ComponentConfig[Any]], name: str) -> tuple[bool | None, list[str] | None, list[str] | None]:
    """As the classes themselves say, and, of a mixer's backends, as building it with each of them does."""
    if config.slot == "backend":
        return None, None, sorted(config.component.supports)
    if config.slot != "mixer":
        return None, None, None
    cacheable: bool = config.component.cacheable
    if "backend" not in config.hyperparameters():
        return cacheable, None, None
    import torch

    from ..components.base import BuildContext

    shape, able = BuildContext(d_model=64, n_layers=1, n_heads=4, n_kv_heads=4, max_length=64), []
    for backend, kind in REGISTRY["attention_backend"].items():
        with suppress(ValueError), torch.device("meta"):  # which says that the backend does not carry it
            config.model_validate({"name": name, "backend": kind(name=backend)}).build(shape)
            able.append(backend)
    return cacheable, able, None


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
                text.append(f"\n{row.abilities}" if row.abilities else "", style="green")
                text.append(f"\n{row.source}" if row.source else "", style="dim")
                table.add_row(row.name, text)
        console.print(table)
        console.print()


def markdown(rows: list[Row]) -> str:
    """The table of the README."""
    lines = ["| slot | name | what it is | hyper-parameters | cache, backends | source |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    last = None
    for row in rows:
        slot = row.slot if row.slot != last else ""
        cells = [slot, f"`{row.name}`", row.meaning, row.settings, row.abilities, row.source]
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
