"""The matrix of component x backend x cache has no untried pair, and none that is wrong: see support/matrix.py."""

import re

import pytest
from support.matrix import CACHES, FEATURES, OWN, SLOTS, Row, examine, pairs_of_mixers, rows, table

from ablation.registry import REGISTRY

pytestmark = pytest.mark.slow

ROWS = list(rows())
UNCACHED = re.compile("refused: (dynamic_ntk|longrope) cannot go on from a cache")
"""What turns keys anew as a text grows."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.parts[0]))
def test_components_match_the_formula_on_every_backend(row: Row) -> None:
    for backend in row.backends:
        assert set(examine(row, backend)) == set(CACHES)


@pytest.mark.parametrize("mixer", REGISTRY["mixer"])
@pytest.mark.parametrize("slot", ["position", "block"])
def test_mixers_use_a_cache_with_every_position_and_block(slot: str, mixer: str) -> None:
    for row in pairs_of_mixers(slot):
        if row.mixer == mixer:
            said = set(examine(row, "sdpa" if OWN not in row.backends else OWN).values())
            assert said == {"yes"} or (slot == "position" and "has no use for position" in " ".join(said)), row.label


def test_every_pair_is_examined() -> None:
    found = [said for row in ROWS for backend in row.backends for said in examine(row, backend).values()]
    with_backend = [name for name, config in REGISTRY["mixer"].items() if "backend" in config.hyperparameters()]
    of_mixers = len(with_backend) * len(REGISTRY["attention_backend"]) + len(REGISTRY["mixer"]) - len(with_backend)
    others = sum(len(REGISTRY[slot]) for slot in SLOTS if slot != "mixer") + len(FEATURES)
    agree, refused = found.count("yes"), sum(said.startswith("refused: ") for said in found)
    assert agree + refused == len(found) == 3 * (of_mixers + others * len(REGISTRY["attention_backend"]))
    assert agree > 9 * refused


def test_table_has_a_row_per_component_with_its_reason() -> None:
    shown = table()
    assert shown.row_count == len(ROWS)
    assert [column.header for column in shown.columns] == ["slot", "component", *REGISTRY["attention_backend"], OWN]
    cells = {cell for column in shown.columns[2:] for cell in column.cells}
    assert "refused: backend 'sdpa' does not support soft_cap" in cells
    assert all(cell in ("", "yes") or str(cell).startswith("refused: ") or UNCACHED.search(str(cell)) for cell in cells)


def test_unsupported_pair_is_refused_by_name() -> None:
    refused = {
        (row.label, backend): said
        for row in ROWS
        for backend in row.backends
        for said in examine(row, backend).values()
        if said != "yes"
    }
    features = {
        (feature, name): f"refused: backend {name!r} does not support {feature}: choose "
        for name, config in REGISTRY["attention_backend"].items()
        for feature in FEATURES
        if feature not in config.component.supports
    }
    for pair, beginning in features.items():
        assert refused[pair].startswith(beginning) and "manual" in refused[pair]
    others = {pair: said for pair, said in refused.items() if pair not in features}
    assert all("does not support value_dim" in said or UNCACHED.search(said) for said in others.values()), others
