"""The wheel as a user has it: `python3 tasks.py wheel` builds it and tries it in fresh environments.

For each Python that is here, with pip and with uv: installed with the versions of constraints.txt into an environment
of its own, then the commands of README.md and of the README that `ablate init` writes, in an empty folder. What is not
here is skipped with one line. The exit code is 1 where anything failed. Needs a network, or pip's own sources.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
TOOLS = ("pip", "uv")
SMALL = [
    word
    for setting in ("model.d_model=16", "model.n_layers=1", "task.length=8", "task.batch_size=2",
                    "training.max_steps=2", "training.evaluate_every=2", "training.device=cpu")
    for word in ("--set", setting)
]  # fmt: skip
"""Added to whatever trains, so that it takes a moment."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def interpreter(version: str) -> str | None:
    """A Python of this version: from the path, from pyenv, or from uv."""
    candidates = [f"python{version}", *map(str, (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))]
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True)
        candidates.append(found.stdout.strip())
    code = f"import sys; sys.exit(sys.version_info[:2] != ({version.replace('.', ', ')}))"
    for candidate in candidates:
        program = shutil.which(candidate) if candidate else None
        if program and subprocess.run([program, "-c", code], capture_output=True).returncode == 0:
            return program
    return None


def install(tool: str, python: str, wheel: Path, folder: Path, cpu: bool) -> Path:
    """The interpreter of a new environment in ``folder`` that has the wheel. Errors: CalledProcessError."""
    own = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    what = ["--constraint", str(ROOT / "constraints.txt"), str(wheel), "pytest"]
    if tool == "pip":
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([own, "-m", "pip", "install", "--quiet", *what], check=True)
    else:
        subprocess.run(["uv", "venv", "--quiet", "--python", python, folder], check=True)
        backend = ["--torch-backend", "cpu"] if cpu else []
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", own, *backend, *what], check=True)
    return own


def commands(folder: Path) -> Iterator[list[str]]:
    """All that is tried, in ``folder``, where nothing is at first."""
    yield ["ablate", "--version"]
    yield ["ablate", "init", "."]
    for page in (folder / "README.md", ROOT / "README.md"):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```yaml\n(# study\.yaml.*?)```", text, flags=re.DOTALL):
            (folder / "study.yaml").write_text(block, encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
            for words in (shlex.split(line, comments=True) for line in block.splitlines()):
                if not words or words[1:2] == ["tasks.py"]:
                    continue  # in a clone
                if words[:2] == ["ablate", "run"]:
                    words += [*SMALL, *(["--budget", "1"] if "--until-decided" in words else ["--seeds", "1"])]
                yield words
    yield ["ablate", "claim", "attention_scale"]
    yield ["ablate", "plan", "quickstart"]
    yield ["ablate", "plan", "conf/grids/quickstart.yaml"]
    yield ["ablate", "grid", "on_gpt2.yaml", "--vary", "model.n_heads=4,2", "--base", "gpt2"]
    yield ["ablate", "plan", "on_gpt2.yaml"]


def attempt(python: Path, folder: Path) -> list[str]:
    """The commands that failed."""
    programs = {"ablate": [str(python.with_name("ablate"))], "python": [str(python)]}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    failed = []
    for program, *words in commands(folder):
        command = [*programs[program], *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            failed.append(shlex.join([program, *words]))
            say(f"  failed: {failed[-1]}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="*", default=VERSIONS, help="versions of Python")
    parser.add_argument("--tool", nargs="*", default=TOOLS, help="what installs")
    parser.add_argument("--cpu", action="store_true", help="uv: the build of PyTorch without CUDA")
    arguments = parser.parse_args()
    n_failed = 0
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", name, str(ROOT)]
        subprocess.run([sys.executable, *build], check=True)
        (wheel,) = temporary.glob("*.whl")
        say(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        for version in arguments.python:
            python = interpreter(version)
            for tool in arguments.tool:
                no_tool = tool == "uv" and shutil.which("uv") is None
                if python is None or no_tool:
                    say(f"Python {version} with {tool}: skipped, there is no {tool if no_tool else 'such Python'} here")
                    continue
                environment, folder = temporary / "environment", temporary / "folder"
                folder.mkdir()
                started = time.monotonic()
                try:
                    own = install(tool, python, wheel, environment, arguments.cpu)
                except subprocess.CalledProcessError as error:
                    n_failed += 1
                    say(f"Python {version} with {tool}: not installed, exit code {error.returncode}")
                else:
                    installed = time.monotonic() - started
                    size = sum(file.lstat().st_size for file in environment.rglob("*") if file.is_file()) / 1e9
                    failed = attempt(own, folder)
                    n_failed += len(failed)
                    outcome = f"{len(failed)} commands failed" if failed else "every command works"
                    say(f"Python {version} with {tool}: {size:.1f} GB in {installed:.0f} s; {outcome}")
                for used in (environment, folder):
                    shutil.rmtree(used, ignore_errors=True)
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
