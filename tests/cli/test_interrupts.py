"""Ctrl-C, KeyboardInterrupt of a component, and components that do not return, before anything is trained."""

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.small_grids import Ablate, one_line, write_grid

from ablation.cli import interrupts

pytestmark = pytest.mark.usefixtures("scratch_registry")
PLUGIN = """\
# {folder}
import os, signal, time
from ablation import register

@register("schedule", "{name}")
class Late:
    def __init__(self):
        {statement}

    def factor(self, step, n_steps):
        return 1.0
"""


def plan(ablate: Ablate, folder: Path, statement: str) -> tuple[int, str, str]:
    """The exit code, what was said, and the path of a plugin whose schedule does something while it is built."""
    plugin = folder / "late.py"
    plugin.write_text(PLUGIN.format(folder=folder, name=folder.name, statement=statement))
    answer = ablate("plan", write_grid(folder, {"schedule": ["constant", folder.name]}), "--plugin", plugin)
    return answer.code, answer.err, str(plugin)


def test_keyboard_interrupt_of_a_component_is_named(ablate: Ablate, tmp_path: Path) -> None:
    code, said, plugin = plan(ablate, tmp_path, "raise KeyboardInterrupt")
    assert (code, said) == (2, f"ablate: {plugin}:8: raised KeyboardInterrupt\n")


def test_keyboard_interrupt_of_a_plugin_is_named(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(f"# {tmp_path}\nraise KeyboardInterrupt\n")
    answer = ablate("plan", write_grid(tmp_path), "--plugin", tmp_path / "p.py")
    assert (answer.code, one_line(answer)) == (2, f"ablate: {tmp_path / 'p.py'}:2: raised KeyboardInterrupt")


def test_ctrl_c_says_which_component_it_interrupts(ablate: Ablate, tmp_path: Path) -> None:
    code, said, plugin = plan(ablate, tmp_path, "os.kill(os.getpid(), signal.SIGINT) or time.sleep(60)")
    assert (code, said) == (4, f"Stopped in {plugin}:8.\n")


def test_ctrl_c_elsewhere_is_an_interruption(ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise interrupts.Interrupted

    monkeypatch.setattr("ablation.grid.planner.make_plan", interrupted)
    answer = ablate("plan", write_grid(tmp_path))
    assert (answer.code, answer.out, answer.err) == (4, "", "")


def test_loop_over_a_helper_is_one_call(ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SECONDS", 0.2)
    loop = "print('called'); helper = lambda: time.sleep(0.05); [helper() for _ in range(20)]"
    code, said, plugin = plan(ablate, tmp_path, loop)
    lines = said.splitlines()
    named = f"{plugin}:8 has been at work for more than 0.2 s."
    assert code == 0 and lines and lines == ["called", named] * (len(lines) // 2)


def test_commands_work_outside_the_main_thread() -> None:
    def work() -> str:
        with interrupts.interrupts_named():
            return "done"

    with ThreadPoolExecutor() as pool:
        assert pool.submit(work).result() == "done"


def test_call_that_does_not_return_is_named_once(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "SECONDS", 0.2)
    code, said, plugin = plan(ablate, tmp_path, "print('called') or time.sleep(1.0)")
    assert code == 0
    lines = said.splitlines()
    assert lines and lines == ["called", f"{plugin}:8 has been at work for more than 0.2 s."] * (len(lines) // 2)


def test_ctrl_c_waits_for_the_import_of_a_library() -> None:
    seen: list[str] = []
    code = compile("signal.raise_signal(signal.SIGINT); seen.append('the rest')", "library.py", "exec")
    with pytest.raises(interrupts.Interrupted), interrupts.interrupts_named():
        exec(code, {"__name__": "torch.library", "signal": signal, "seen": seen})
        time.sleep(10)
    assert seen == ["the rest"]


def test_ctrl_c_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ablation.plugins")
    with pytest.raises(interrupts.Interrupted), interrupts.interrupts_named():
        signal.raise_signal(signal.SIGINT)
        time.sleep(10)
    assert "ablation.plugins" not in sys.modules
