"""``ablate schema``."""

import json
from pathlib import Path

import yaml
from support.small_grids import ROOT, Ablate


def test_schema_writes_the_schemas_of_conf(ablate: Ablate, tmp_path: Path) -> None:
    answer = ablate("schema", "--output", "schema.json")
    assert answer.out.split() == ["schema.json", "grid.schema.json"]
    for name in ("schema.json", "grid.schema.json"):
        assert json.loads(Path(name).read_text()) == json.loads((ROOT / "conf" / name).read_text()), "inv generate"
    base = json.loads(Path("schema.json").read_text())
    assert set(base["required"]) <= set(yaml.safe_load((ROOT / "conf" / "base.yaml").read_text()))
