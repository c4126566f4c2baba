"""Components from files and from installed packages: one class in one file is known everywhere."""

import importlib
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.plans import factors, plan

from ablation import plugins
from ablation.config.experiment import ExperimentConfig
from ablation.errors import InputError
from ablation.plugins import load_plugins, reason
from ablation.registry import REGISTRY

pytestmark = pytest.mark.usefixtures("scratch_registry")

KERPLE = '''\
"""A position with one hyper-parameter."""
from typing import Annotated

from ablation import Position, register
from pydantic import Field


@register("position", "kerple", source="Chi et al. 2022, arXiv:2205.09921")
class Kerple(Position):
    """A penalty that grows with the logarithm of the distance."""

    def __init__(self, shape, *, power: Annotated[float, Field(gt=0)] = 1.0):
        super().__init__(shape)
'''


@pytest.fixture(autouse=True)
def scratch_modules() -> Iterator[None]:
    """Modules that a test makes are gone after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith((plugins.PREFIX, "elsewhere")):
            del sys.modules[name]


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def refusal(*files: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_plugins(files)
    return str(caught.value).replace(f"{files[-1].parent}/", "")


def test_component_in_a_file_can_be_varied_like_any_other(tmp_path):
    load_plugins([written(tmp_path, KERPLE)])
    cells = plan(tmp_path, factors("{model.position: [rope, kerple, {name: kerple, power: 2}]}")).cells
    assert [cell.label for cell in cells] == ["position=rope", "position=kerple", "position=kerple(power=2)"]
    assert [cell.runs[0].config.model.position.power for cell in cells[1:]] == [1, 2]
    cells = plan(tmp_path, factors("{model.position.power: [1, 3]}", "set: {model.position: kerple}\n")).cells
    assert cells[1].runs[0].config.model.position.power == 3
    with pytest.raises(InputError, match=r"grid.yaml:3:43: model.position.power: must be greater than 0, not 0"):
        plan(tmp_path, factors("{model.position: [{name: kerple, power: 0}]}"))
    assert "kerple" in json.dumps(ExperimentConfig.model_json_schema())


DESIGN = """\
from ablation import Design, register


@register("design", "baseline_only")
class BaselineOnly(Design):
    def combinations(self, n_levels):
        return [(0,) * len(n_levels)]

    def count(self, n_levels):
        return 1
"""


def test_design_in_a_file_can_be_used_by_a_grid(tmp_path):
    load_plugins([written(tmp_path, DESIGN)])
    planned = plan(tmp_path, factors("{model.position: [rope, alibi]}", "design: baseline_only\n"))
    assert [cell.label for cell in planned.cells] == ["position=rope"]


def test_plugin_has_its_file_and_a_fingerprint(tmp_path, monkeypatch):
    file = written(tmp_path, KERPLE)
    monkeypatch.chdir(tmp_path)
    (loaded,) = load_plugins([Path("mine.py")])
    assert Path(loaded.file).is_absolute()
    assert Path(loaded.file).samefile(file)
    assert loaded.sha256 == sha256(KERPLE.encode()).hexdigest()


def test_equal_files_run_once(tmp_path):
    marks = written(tmp_path, "", "marks")
    text = f"open({str(marks)!r}, 'a').close()\nwith open({str(marks)!r}, 'a') as f:\n    f.write('x')\n"
    file, same = written(tmp_path, text), written(tmp_path, text, "same.py")
    assert [plugin.file for plugin in load_plugins([file, file, same])] == [str(file), str(file), str(same)]
    load_plugins([file])
    assert marks.read_text() == "x"


def test_file_that_was_imported_may_be_a_plugin_too(tmp_path, monkeypatch):
    file = written(tmp_path, KERPLE, "imported_before.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("imported_before")
    load_plugins([file])
    assert REGISTRY["position"]["kerple"].component.__module__.startswith(plugins.PREFIX)
    del sys.modules["imported_before"]


def test_two_files_may_not_register_the_same_name(tmp_path):
    message = refusal(written(tmp_path, KERPLE), written(tmp_path, KERPLE.replace("Chi", "Someone"), "other.py"))
    assert message.startswith("other.py:8: position 'kerple' is taken by ")
    assert REGISTRY["position"]["kerple"].source.startswith("Chi")


def test_failed_file_leaves_nothing_registered(tmp_path):
    text = KERPLE + "\n\n@register('new_slot', 'x')\nclass X: ...\n\n\nraise RuntimeError('too late')\n"
    before = {slot: list(members) for slot, members in REGISTRY.items()}
    assert refusal(written(tmp_path, text)) == "mine.py:20: RuntimeError: too late"
    assert {slot: list(members) for slot, members in REGISTRY.items()} == before
    load_plugins([written(tmp_path, KERPLE)])  # mended, in the same process
    assert "kerple" in REGISTRY["position"]


def test_new_slot_is_allowed_unless_it_resembles_another(tmp_path):
    load_plugins(
        [written(tmp_path, "from ablation import register\n@register('feature_map', 'elu')\nclass Elu: ...\n")]
    )
    assert "elu" in REGISTRY["feature_map"]
    text = "from ablation import register\n@register('feedfoward', 'x')\nclass X: ...\n"
    assert refusal(written(tmp_path, text)) == "mine.py: there is no slot 'feedfoward'; did you mean 'feedforward'?"
    assert "feedfoward" not in REGISTRY


def test_file_that_stops_the_program_is_an_error(tmp_path):
    assert refusal(written(tmp_path, "import sys\nsys.exit('enough')\n")) == "mine.py:2: SystemExit: enough"


def test_ctrl_c_passes_through(tmp_path):
    file = written(tmp_path, KERPLE + "\nraise KeyboardInterrupt\n")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            load_plugins([file])


def test_line_is_that_of_the_plugin_not_of_what_it_calls(tmp_path):
    assert refusal(written(tmp_path, "import json\n\njson.loads('{')\n")).startswith(
        "mine.py:3: Expecting property name"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("absent.py", "--plugin absent.py: there is no such file; did you mean 'absence.py'?"),
        ("folder", "--plugin folder: Is a directory; expected a Python file"),
        ("absence.txt", "--plugin absence.txt: the name of a Python file must end in .py"),
        ("nul\0.py", "--plugin nul\\x00.py: embedded null byte; expected a Python file"),
    ],
)
def test_file_that_is_no_python_is_refused(tmp_path, name, expected):
    (tmp_path / "folder").mkdir()
    for other in ("absence.py", "absence.txt"):
        written(tmp_path, "", other)
    assert refusal(tmp_path / name) == expected


# --- installed packages ----------------------------------------------------------------------------------------------


def test_installed_package_is_loaded_by_its_entry_point(monkeypatch):
    asked = []

    def load():
        from ablation.components.position.base import Position
        from ablation.registry import register

        register("position", "installed")(type("Installed", (Position,), {}))

    def found(group):
        asked.append(group)
        return [SimpleNamespace(value="package.module", load=load)]

    monkeypatch.setattr(plugins, "entry_points", found)
    assert load_plugins([]) == ()
    assert asked == ["ablation.components"]
    assert "installed" in json.dumps(ExperimentConfig.model_json_schema())


def test_installed_package_that_fails_is_named(monkeypatch):
    point = SimpleNamespace(value="package.module", load=lambda: 1 / 0)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(InputError, match=r"^the installed ablation.components package.module: ZeroDivisionError"):
        load_plugins([])


def test_line_of_an_installed_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    written(tmp_path, "def helper():\n    return 1 / 0\n", "elsewhere/helpers.py")
    written(tmp_path, KERPLE, "elsewhere/__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    point = SimpleNamespace(value="elsewhere", load=lambda: importlib.import_module("elsewhere"))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    load_plugins([])
    with pytest.raises(ZeroDivisionError) as raised:
        importlib.import_module("elsewhere.helpers").helper()
    assert reason(raised.value) == "ZeroDivisionError: division by zero (helpers.py:2)"


# --- what stopped foreign code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("heads are odd"), "heads are odd"),
        (ValueError("one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (RuntimeError("x"), "RuntimeError: x"),
        (KeyError("x"), "KeyError: 'x'"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_reason_is_one_line(error, expected):
    assert reason(error) == expected
