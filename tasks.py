"""Chores: `python3 tasks.py TASK` anywhere, or `inv TASK` inside the environment; `inv --list` lists them.

Run as a script, this file needs nothing but Python: it makes `.venv` beside itself with the versions of
constraints.txt, renews it when they change, and hands over to Invoke in there. Up to that hand-over only what
Python 3.6 can read, so that an old Python gets an answer and not a syntax error.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed"  # what was installed; written last, so a half-made .venv has none


def works(code):
    """Whether the interpreter of .venv exists and runs this code without an error."""
    try:
        command = [str(PYTHON), "-I", "-c", code]
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def attempt(*command):
    """Run a step of the installation, or exit with one line."""
    if subprocess.call([str(word) for word in command], cwd=str(ROOT)) != 0:
        sys.exit("tasks.py: that failed (no network?). The same command goes on; after deleting .venv it starts anew.")


def prepare():
    """Install into .venv what pyproject.toml and constraints.txt name, unless that is done already."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit("tasks.py needs Python >= 3.11; {} is {}.{}".format(sys.executable, *sys.version_info[:2]))
    requirements = b"\0".join((ROOT / file).read_bytes() for file in ("pyproject.toml", "constraints.txt"))
    required = f"{ROOT}\n{hashlib.sha256(requirements).hexdigest()}"
    installed = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
    if installed == required and works("import invoke"):
        return
    print("tasks.py: installing into .venv (the first time: minutes)", flush=True)
    moved = bool(installed) and installed.splitlines()[0] != str(ROOT)  # its programs hold the old path
    if moved or not works("import sys, ensurepip; assert sys.version_info >= (3, 11); ensurepip.bootstrap()"):
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError:
            sys.exit("tasks.py: this Python lacks venv or ensurepip; on Debian and Ubuntu: apt install python3-venv")
        attempt(sys.executable, "-m", "venv", "--clear", VENV)
    STAMP.unlink(missing_ok=True)
    install = (PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--constraint", "constraints.txt")
    attempt(*install, "pip", "hatchling")  # both in exact versions, as the rest; older pips do not know --group
    attempt(*install, "--no-build-isolation", "--editable", ".", "--group", "dev")
    STAMP.write_text(required, encoding="utf-8")


if __name__ == "__main__":
    prepare()
    os.chdir(str(ROOT))
    command = [str(PYTHON), "-m", "invoke", *(sys.argv[1:] or ["--list"])]
    if os.name == "nt":
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the task, which answers it in its own time
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


import importlib.util  # noqa: E402

from invoke import Context, task  # noqa: E402

os.chdir(ROOT)  # `inv` may be called in a subfolder
TERMINAL = os.name != "nt" and all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def run(c: Context, *commands: str) -> None:
    """Run programs of this environment, whether or not it is activated; the first that fails ends the task."""
    for command in commands:
        program, _, arguments = command.partition(" ")
        print(f"$ {command}", flush=True)
        path = Path(sys.executable).with_name(program)
        # Without a terminal Invoke would close the program's input, and then fail to pass on an interrupt.
        c.run(f'"{path}" {arguments}', pty=TERMINAL, in_stream=None if TERMINAL else False)


@task
def format(c: Context) -> None:
    """Format the code and fix what ruff can fix."""
    run(c, "ruff check --fix", "ruff format")


@task
def lint(c: Context) -> None:
    """Check format, style and types; change nothing."""
    run(c, "ruff format --check", "ruff check", "mypy")


@task(help={"options": "for pytest, as in: -o '-k rope -x'", "all": "also the slow tests, as CI does"})
def test(c: Context, options: str = "", all: bool = False) -> None:
    """Run the tests, without those marked slow."""
    selection = "" if all else '-m "not slow" '
    run(c, f"pytest --numprocesses 2 --dist loadfile {selection}{options}".strip())


@task
def generate(c: Context) -> None:
    """Write what is derived from the registry: the JSON schemas and the page of components."""
    run(c, "ablate schema --output conf/schema.json", "ablate components --markdown > docs/components.md")


@task
def picture(c: Context) -> None:
    """Draw the pictures of the table and of the page from the runs of the quickstart grid; needs Chromium."""
    grid, page = "conf/grids/quickstart.yaml", f"file://{ROOT}/runs/quickstart/report.html"
    run(c, f"ablate run {grid}", f"ablate table {grid} --picture docs/table.svg", f"ablate report {grid}")
    c.run("chromium --headless --no-sandbox --hide-scrollbars --virtual-time-budget=8000 --window-size=1400,1330 "
          f"--screenshot=docs/page.png {page}", in_stream=False)  # fmt: skip


@task(help={"options": "names of claims, as in: -o 'muon warmup'; by default all"})
def answers(c: Context, options: str = "") -> None:
    """Test the claims, and write the page of answers with their pictures; takes an hour the first time."""
    with c.cd("tests"):
        run(c, f"python -m support.answers {options}".strip())


@task
def parity(c: Context) -> None:
    """Print how far each known model is from its reference implementation, on random weights."""
    with c.cd("tests"):
        run(c, "python -m support.parity")


@task
def matrix(c: Context) -> None:
    """Print which components, backends and caches can be combined, and why the others cannot."""
    with c.cd("tests"):
        run(c, "python -m support.matrix")


@task
def docstrings(c: Context) -> None:
    """Print what the docstrings of public things lack: shapes, errors, sources. Nothing is."""
    with c.cd("tests"):
        run(c, "python -m support.docstrings")


@task
def site(c: Context) -> None:
    """Build the site into dist/site, without a network; a dead link or a heading out of order is an error."""
    if importlib.util.find_spec("sphinx") is None:
        sys.exit("tasks.py: the site needs more: .venv/bin/python -m pip install -c constraints.txt --group docs")
    run(c, "python -m sphinx --fail-on-warning --keep-going --quiet -c docs/site . dist/site")


@task(help={"options": "such as: -o '--python 3.12 --tool uv --cpu'"})
def wheel(c: Context, options: str = "") -> None:
    """Build the wheel and try it in fresh environments: Python 3.11, 3.12 and 3.13, with pip and with uv."""
    with c.cd("tests"):
        run(c, f"python -m support.wheel {options}".strip())


@task(pre=[lint, test])
def check(c: Context) -> None:
    """Lint and test."""


@task
def quickstart(c: Context) -> None:
    """Train a small grid on real text, print its table and write its page."""
    run(c, "ablate run conf/grids/quickstart.yaml", "ablate report conf/grids/quickstart.yaml")
