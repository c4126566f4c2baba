"""What the shell offers behind a command, asked for as bash does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ablation.cli import complete
from ablation.registry import REGISTRY
from ablation.report.components import rows


def offered(words: list[str], folder: Path, shell: str = "bash") -> list[str]:
    """What is offered for the last of the words."""
    environment = {
        **os.environ,
        "_ABLATE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": " ".join(words),
    }
    code = "import sys; from ablation.cli import main; sys.argv = ['ablate']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return [line for line in done.stdout.split("\n") if line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labels = ["norm=layer_norm", "norm=rms_norm", "norm=rms_norm heads=two words"]
    for name in ("norms", "heads"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        factors = [{"path": "model.norm", "name": "norm"}, {"path": "model.n_heads", "name": "heads"}]
        content = {"grid": name, "cells": [{"label": label} for label in labels], "factors": factors}
        (tmp_path / "runs" / name / "manifest.json").write_text(json.dumps(content))
    (tmp_path / "runs" / "store").mkdir()
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "mine.yaml").write_text("name: norms\n")
    return tmp_path


def test_grids_are_offered_by_name_and_file(folder: Path) -> None:
    assert offered(["ablate", "table", ""], folder)[:2] == ["heads", "norms"]
    assert offered(["ablate", "table", ""], folder)[-2:] == ["grids/", "runs/"]
    assert offered(["ablate", "table", "norms"], folder) == ["norms"]
    assert offered(["ablate", "run", "grids/m"], folder) == ["grids/mine.yaml"]
    assert offered(["ablate", "table", "--runs", "elsewhere", "norms"], folder) == []


def test_factors_and_cells_are_offered_to_options(folder: Path) -> None:
    assert offered(["ablate", "table", "norms", "--pivot", ""], folder) == ["norm", "heads"]
    assert offered(["ablate", "table", "norms", "--pivot", "h"], folder) == ["heads"]
    assert offered(["ablate", "table", "nowhere", "--pivot", ""], folder) == []
    with_baseline = offered(["ablate", "profile", "norms", "--cell", ""], folder, "zsh")
    assert "norm=layer_norm" in " ".join(with_baseline)


def test_paths_of_the_baseline_are_offered_to_set(folder: Path) -> None:
    assert offered(["ablate", "run", "norms", "--set", "model.n_l"], folder) == ["model.n_layers"]
    assert {"task.length", "optimizer", "optimizer.lr"} <= set(offered(["ablate", "run", "norms", "--set", ""], folder))


def test_grids_of_the_package_are_offered_by_name(folder: Path) -> None:
    assert offered(["ablate", "run", "quick"], folder) == ["quickstart"]
    assert offered(["ablate", "run", "qk_"], folder) == ["qk_norm_rates"]


@pytest.mark.parametrize("words", [["compare"], ["compare", "heads"], ["inspect"]])
def test_grids_are_offered_where_studies_are_compared_and_looked_into(folder: Path, words: list[str]) -> None:
    assert offered(["ablate", *words, "norms"], folder) == ["norms"]


def test_odd_manifests_and_unreadable_folders_offer_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = folder / "runs" / "norms" / "manifest.json", SimpleNamespace(params={"grid": "norms"})
    monkeypatch.chdir(folder)
    for cells in (None, 3, {}, [{}, {}], [1, 2], [{"label": "a"}, {"label": 5}]):
        file.write_text(json.dumps({"grid": "norms", "cells": cells}))
        assert complete.cells(context, "x") == []

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert complete.grids(context, "grids/") == []


def test_cells_of_the_grid_are_offered_though_bash_breaks_words_at_equal_signs(folder: Path) -> None:
    assert offered(["ablate", "explain", "norms", ""], folder) == ["norm=rms_norm", "norm=rms_norm\\ heads=two\\ words"]
    assert offered(["ablate", "explain", "norms", "norm", "=", "rms_"], folder) == [
        "rms_norm",
        "rms_norm\\ heads=two\\ words",
    ]
    assert offered(["ablate", "explain", "grids/mine.yaml", "norm", "="], folder)[0] == "rms_norm"
    assert offered(["ablate", "explain", "nothing", ""], folder) == []


def test_another_shell_gets_whole_labels(folder: Path) -> None:
    assert '"norm=rms_norm"' in "".join(offered(["ablate", "explain", "norms", "norm=r"], folder, "zsh"))


def test_slots_and_components_are_offered(folder: Path) -> None:
    assert offered(["ablate", "components", "rop"], folder) == ["rope_scaling", "rope"]
    assert offered(["ablate", "run", "x.yaml", "--set", "model.position", "=", "al"], folder) == ["alibi"]


def test_registered_components_are_those_of_the_registry() -> None:
    rows()  # which imports all that registers something
    own = {
        (slot, name)
        for slot, members in REGISTRY.items()
        for name, config in members.items()
        if config.component.__module__.startswith("ablation.")
    }
    assert set(complete.registered()) == own


def test_completion_imports_neither_torch_nor_pydantic(folder: Path) -> None:
    code = (
        "import sys; from ablation.cli.app import app; from ablation.cli import complete\n"
        "context = type('Context', (), {'params': {'grid': 'norms'}})\n"
        "print(complete.cells(context, ''), complete.grids(context, ''), complete.slots('rop'))\n"
        "print([name for name in ('torch', 'pydantic', 'rich', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
