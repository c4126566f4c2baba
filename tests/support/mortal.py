"""A component whose process ends, or stays, in every way."""

from pathlib import Path

MORTAL = '''
"""{tag}"""
import ctypes
import faulthandler
import os
import subprocess
import sys
import time
from pathlib import Path

from ablation import Schedule, register

FOLDER = Path({folder!r})


def note(name, process):
    (FOLDER / (name + ".new")).write_text(str(process))
    (FOLDER / (name + ".new")).replace(FOLDER / name)


@register("schedule", "mortal")
class Mortal(Schedule):
    """Constant; in the third step something happens."""

    def __init__(self, *, kind: str = "none"):
        super().__init__(warmup_ratio=0.0)
        self.kind = kind

    def factor(self, step: int, n_steps: int) -> float:
        if step == 3:
            note(self.kind, os.getpid())
            getattr(self, self.kind)()
        return 1.0

    def none(self): ...

    def segfault(self):
        ctypes.string_at(8)  # line of segfault

    def abort(self):
        os.abort()  # line of abort

    def exit(self):
        os._exit(3)

    def sleep(self):
        time.sleep(3600)  # line of sleep

    def hold_the_lock(self):
        ctypes.PyDLL(None).sleep(3600)  # line of hold_the_lock

    def have_a_child(self):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        note("child", child.pid)
        time.sleep(3600)

    def leave_a_child(self):
        """One whose parent has ended."""
        program = "import subprocess, sys; words = [sys.executable, '-c', 'import time; time.sleep(3600)'];"
        program += "print(subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True).pid)"
        note("child", subprocess.check_output([sys.executable, "-c", program], text=True).strip())

    def leave_a_child_and_be_killed(self):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        self.leave_a_child()
        os.kill(os.getpid(), 9)

    def interrupt(self):
        raise KeyboardInterrupt  # line of interrupt

    def print_a_secret_and_be_killed(self):
        print(os.environ["SOME_API_KEY"], flush=True)
        os.kill(os.getpid(), 9)

    def be_killed(self):
        os.kill(os.getpid(), 9)

    def print_much(self):
        for _ in range(200):  # 100 MiB, not faster than the size is looked at
            os.write(1, b"x" * 2**19)
            while os.fstat(1).st_size > 10 * 2**20:
                time.sleep(0.01)
        print("the last line")
'''


def write_mortal(folder: Path) -> Path:
    """A plugin whose text is its folder's own."""
    file = folder / "mortal.py"
    file.write_text(MORTAL.format(tag=folder, folder=str(folder)))
    return file
