"""What ``ablate components`` prints: every registered component with its hyper-parameters, read from the registry."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..registry import REGISTRY, ComponentConfig
from . import paging
from .labels import plain


@dataclass(frozen=True)
class Row:
    """One component, as the registry and its class declare it."""

    slot: str
    name: str
    summary: str
    source: str
    hyperparameters: dict[str, Any]
    """Names and defaults; ``required`` where there is no default."""
    cacheable: bool | None
    """Of a mixer: whether a KV cache can serve it."""
    backends: list[str] | None
    """Of a mixer with an attention backend: the backends it can be built with, all else at its default."""
    supports: list[str] | None
    """Of an attention backend: the optional features it supports, such as a bias."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def settings(self) -> str:
        return plain(", ".join(f"{name}={value}" for name, value in self.hyperparameters.items()))

    @property
    def abilities(self) -> str:
        """``cache; manual, sdpa`` of a mixer, ``bias, dropout`` of an attention backend; empty of anything else."""
        if self.supports is not None:
            return ", ".join(self.supports) or "no optional feature"
        if self.cacheable is None:
            return ""
        cache = "cache" if self.cacheable else "no cache"
        return cache if self.backends is None else f"{cache}; {', '.join(self.backends)}"


def rows() -> list[Row]:
    """Every component of every slot, as registered."""
    from .. import checkpoints  # noqa: F401
    from ..bench import probes  # noqa: F401
    from ..config import experiment  # noqa: F401  fills the slots
    from ..grid import design, search  # noqa: F401
    from ..launch import choice  # noqa: F401

    return [
        Row(
            plain(slot),
            plain(name),
            plain(config.summary()),
            plain(config.source),
            _defaults(config),
            *_abilities(config, name),
        )
        for slot, members in sorted(REGISTRY.items())
        for name, config in sorted(members.items())
    ]


def _defaults(config: type[ComponentConfig[Any]]) -> dict[str, Any]:
    defaults = {}
    for name in config.hyperparameters():
        field = config.model_fields[name]
        default = "required" if field.is_required() else field.default
        if isinstance(default, ComponentConfig):
            default = default.name
        elif isinstance(default, float):
            default = float(f"{default:.6g}")
        elif isinstance(default, tuple):
            default = list(default)
        defaults[name] = default
    return defaults


def _abilities(config: type[ComponentConfig[Any]], name: str) -> tuple[bool | None, list[str] | None, list[str] | None]:
    """``cacheable``, ``backends`` and ``supports`` of a row. Which backends serve a mixer is found by building it."""
    if config.slot == "attention_backend":
        return None, None, sorted(config.component.supports)
    if config.slot != "mixer":
        return None, None, None
    cacheable: bool = config.component.cacheable
    if "backend" not in config.hyperparameters():
        return cacheable, None, None
    import torch

    from ..components.base import BuildContext

    context, backends = BuildContext(d_model=64, n_layers=1, n_heads=4, n_kv_heads=4, max_length=64), []
    for backend, backend_config in REGISTRY["attention_backend"].items():
        # A backend that cannot serve the mixer refuses with a ValueError.
        with suppress(ValueError), torch.device("meta"):
            config.model_validate({"name": name, "backend": backend_config(name=backend)}).build(context)
            backends.append(backend)
    return cacheable, backends, None


def show(rows: list[Row]) -> None:
    """Print the rows, a block for each slot."""
    parts: list[RenderableType] = []
    for slot in dict.fromkeys(row.slot for row in rows):
        table = Table(
            title=Text(slot),
            title_justify="left",
            title_style="bold",
            box=None,
            show_header=False,
            padding=(0, 2, 0, 0),
        )
        table.add_column(no_wrap=True, min_width=13)
        table.add_column(ratio=1)
        for row in rows:
            if row.slot == slot:
                text = Text(row.summary)
                text.append(f"\n{row.settings}" if row.settings else "", style="cyan")
                text.append(f"\n{row.abilities}" if row.abilities else "", style="green")
                text.append(f"\n{row.source}" if row.source else "", style="dim")
                table.add_row(Text(row.name), text)
        parts += [table, Text()]
    paging.show(Group(*parts))


def markdown(rows: list[Row]) -> str:
    """A page, docs/components.md: a section for each slot with a table of its components. Ends in a newline."""
    lines = ["# Components", "", "Written by `ablate components --markdown`; edits to this file are overwritten."]
    for slot in dict.fromkeys(row.slot for row in rows):
        members = [row for row in rows if row.slot == slot]
        titles = ["name", "what it is", "hyper-parameters", "source"]
        abilities = any(row.abilities for row in members)
        titles += ["supports"] if abilities else []
        lines += ["", f"## {slot}", "", _line(titles), _line(["---"] * len(titles))]
        for row in members:
            cells = [f"`{row.name}`", row.summary, row.settings, row.source, *([row.abilities] if abilities else [])]
            lines.append(_line([cell.replace("|", "\\|") for cell in cells]))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
