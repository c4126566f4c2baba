"""``ablate components``: what can be ablated."""

import json
from typing import Annotated

import typer

from ..errors import InputError, nearest
from . import complete
from .common import AsJson, Plugins

SlotName = Annotated[
    str | None,
    typer.Argument(
        metavar="[SLOT|NAME]",
        help="Only this slot, or components of this name.",
        show_default=False,
        autocompletion=complete.slots,
    ),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the page docs/components.md.")]


def components(
    slot: SlotName = None, markdown: Markdown = False, plugins: Plugins = [], as_json: AsJson = False
) -> None:
    """List what can be ablated: every slot, its members, what they are, their source and hyper-parameters."""
    from ..plugins import load_plugins
    from ..report import components

    load_plugins(plugins)
    rows = components.rows()
    if slot is not None:
        slots = list(dict.fromkeys(row.slot for row in rows))
        names = [row.name for row in rows]
        if slot not in (*slots, *names):
            allowed = f"is neither a slot nor a component; slots: {', '.join(slots)}"
            raise InputError(f"{slot!r} {allowed}{nearest(slot, [*slots, *names])}")
        rows = [row for row in rows if slot == (row.slot if slot in slots else row.name)]
    if markdown:
        typer.echo(components.markdown(rows), nl=False)
    elif as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows]))
    else:
        components.show(rows)
