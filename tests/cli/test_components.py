"""``ablate components``."""

from pathlib import Path
from typing import Any

import pytest
from support.small_grids import Ablate, write_trouble

from ablation.registry import REGISTRY


def test_components_lists_every_component(ablate: Ablate) -> None:
    listed = ablate("components", "--json").json
    assert {(row["slot"], row["name"]) for row in listed} == {
        (slot, name) for slot, members in REGISTRY.items() for name in members
    }
    assert all(row["source"] for row in listed)
    text = ablate("components").out
    assert all(row["name"] in text for row in listed)
    assert {row["slot"] for row in ablate("components", "norm", "--json").json} == {"norm"}


def test_components_lists_cache_and_backends(ablate: Ablate) -> None:
    listed = {(row["slot"], row["name"]): row for row in ablate("components", "--json").json}
    for (slot, name), row in listed.items():
        component: Any = REGISTRY[slot][name].component
        assert row["cacheable"] == (component.cacheable if slot == "mixer" else None)
        assert row["supports"] == (sorted(component.supports) if slot == "attention_backend" else None)
        takes_one = slot == "mixer" and "backend" in REGISTRY[slot][name].hyperparameters()
        assert (row["backends"] is not None) == takes_one
    wide = [name for name, kind in REGISTRY["attention_backend"].items() if "value_dim" in kind.component.supports]
    assert listed["mixer", "attention"]["backends"] == list(REGISTRY["attention_backend"])
    assert listed["mixer", "latent"]["backends"] == listed["mixer", "differential"]["backends"] == wide
    assert f"cache; {', '.join(REGISTRY['attention_backend'])}" in ablate("components", "mixer").out


def test_components_lists_those_of_a_plugin(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    rows = ablate("components", "schedule", "--plugin", write_trouble(tmp_path), "--json").json
    assert "trouble" in [row["name"] for row in rows]


def test_components_prints_the_page_in_docs(ablate: Ablate) -> None:
    page = ablate("components", "--markdown").out
    assert page.startswith("# ") and all(f"`{row['name']}`" in page for row in ablate("components", "--json").json)


HOSTILE = '''
from ablation import Position, register


@register("position", "evil[red]\\x1b[31m", source="by \\x1b]0;title\\x07 [link=http://x]y[/link]\\u202e\\x9b")
class Evil(Position):
    """Turns \\x1b[2J the [red]screen[/red] \\u202e around."""

    def __init__(self, shape, *, power: str = "\\x1b[1m"):
        super().__init__(shape)
'''


@pytest.mark.parametrize("more", [(), ("--markdown",)])
def test_plugin_cannot_steer_the_terminal(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any, more: tuple[str, ...]
) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    said = ablate("components", *(() if more else ("position",)), "--plugin", tmp_path / "hostile.py", *more).out
    assert "evil[red]" in said and "[link=http://x]y[/link]" in said and "[red]screen[/red]" in said
    assert all(character.isprintable() or character == "\n" for character in said)
