"""The page of components, and what it says of each."""

import re

from ablation.registry import REGISTRY
from ablation.report.components import markdown, rows


def test_markdown_has_a_section_per_slot_and_a_row_per_component() -> None:
    page = markdown(rows())
    sections = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=\n## |\Z)", page, flags=re.S | re.M))
    assert set(sections) == {slot for slot, members in REGISTRY.items() if members}
    for slot, text in sections.items():
        lines = text.strip().splitlines()
        assert [re.findall(r"^\| `([\w-]+)` \|", line)[0] for line in lines[2:]] == sorted(REGISTRY[slot])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, "a | within a cell is escaped"


def test_mixers_list_their_cache_and_backends() -> None:
    by_name = {(row.slot, row.name): row for row in rows()}
    assert by_name["mixer", "attention"].abilities.startswith("cache; ")
    assert by_name["attention_backend", "manual"].supports
    assert by_name["norm", "layer_norm"].abilities == ""
