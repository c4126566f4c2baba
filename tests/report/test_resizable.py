"""A live display in a window that is resized, in a terminal that breaks lines as those of today do."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIVE = """
import sys, time
from pathlib import Path
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from ablation.report.resizable import Frames

console = Console()
frames = Frames(console)
asked, shown = Path(sys.argv[1]), 0
print("before")
with Live(console=console, auto_refresh=False) as live:
    while True:
        if (number := int(asked.read_text() or 0)) > shown:
            shown = number
            lines = [f"line {number} ".ljust(console.width - 1, "x") for number in range(4)]
            live.update(frames.frame(Group(*map(Text, lines))), refresh=True)
        time.sleep(0.02)
"""

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux, a terminal to resize, is not installed")


class Terminal:
    """A terminal in which a program runs."""

    def __init__(self, name: str, command: str, asked: Path):
        self.name, self.asked, self.number = name, asked, 0
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "90", "-y", "20", command)

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self.name, *words]
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "TMUX")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, env=environment)
        return done.stdout

    def resize(self, width: int) -> None:
        """Between two frames: of one that is written meanwhile, a terminal may leave a part."""
        self.tmux("resize-window", "-x", str(width), "-y", "20")
        time.sleep(0.5)

    def show(self) -> None:
        """Ask the program for a frame."""
        self.number += 1
        self.asked.write_text(str(self.number))

    def lines(self) -> list[str]:
        """Those on the screen, without what was printed before: a terminal may scroll that off while it is resized."""
        return [line for line in self.tmux("capture-pane", "-p").rstrip().split("\n") if line != "before"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    script, asked = tmp_path / "live.py", tmp_path / "asked"
    script.write_text(LIVE)
    asked.write_text("0")
    opened = Terminal(f"ablation-{tmp_path.name}", f"{sys.executable} {script} {asked}", asked)
    yield opened
    opened.tmux("kill-server")


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def frame(width: int) -> list[str]:
    return [f"line {number} ".ljust(width - 1, "x") for number in range(4)]


def test_live_display_stands_once_after_every_change_of_width(terminal: Terminal) -> None:
    terminal.show()
    assert wait_until(lambda: terminal.lines() == frame(90)), terminal.lines()
    for width in (50, 30, 120, 41, 80):
        terminal.resize(width)
        terminal.show()
        assert wait_until(lambda: terminal.lines() == frame(width)), "\n".join(terminal.lines())  # noqa: B023
