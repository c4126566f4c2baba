"""Grids that train in a moment, a component that gets into trouble, and the command line in and out of process."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablation import cli
from ablation.grid.file import read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan
from ablation.plugins import load_plugins
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study.manifest import save_plan
from support import BASE, ROOT

TINY = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.n_heads": 4,
    "model.dropout": 0.0,
    "model.initialization": {"name": "gpt2", "std": 0.3},  # wide, so that no softmax is almost flat
    "task.length": 12,
    "task.batch_size": 4,
    "training.max_steps": 4,
    "training.evaluate_every": 2,
    "training.device": "cpu",
    "training.precision": "32-true",
    "tracking.mode": "disabled",
}
"""Changes to the baseline: a model for tests of arithmetic, its weights wide, so that no softmax is almost flat."""
SMALL = {
    "model.d_model": 8,
    "model.n_layers": 1,
    "model.n_heads": 2,
    "model.dropout": 0.1,
    "task": {
        "name": "copy",
        "symbols": 4,
        "length": 8,
        "batch_size": 4,
        "epoch_examples": 24,
        "validation_examples": 10,
    },
    "training.max_steps": 6,
    "training.evaluate_every": 4,
    "training.log_every": 2,
    "training.device": "cpu",
    "tracking.mode": "disabled",
}
"""Changes to the baseline: a run that trains in a moment."""
NORMS = {"model.block": ["pre_norm", "post_norm"]}

TROUBLE = '''
"""{tag}"""
import os
import signal
import sys
import time
from pathlib import Path

import torch

from ablation import Schedule, register

FOLDER = Path({folder!r})


@register("schedule", "trouble")
class Trouble(Schedule):
    """Constant, but for what happens after some steps."""

    def __init__(self, *, kind: str = "none", after: int = 3):
        super().__init__(warmup_ratio=0.0)
        self.kind, self.steps = kind, after

    def factor(self, step: int, n_steps: int) -> float:
        return (getattr(self, self.kind)() or 1.0) if step == self.steps else 1.0

    def none(self): ...

    def explode(self):
        return float("inf")

    def fail(self):
        raise RuntimeError("[bold]no[/bold] luck\\nat all")

    def fail_while(self):
        if (FOLDER / "fail").exists():
            self.fail()

    def exhaust(self):
        raise MemoryError("no more")

    def exhaust_device(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def leave(self):
        sys.exit(7)

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def die_once(self):
        if not (FOLDER / "died").exists():
            (FOLDER / "died").touch()
            self.die()

    def wait(self):
        while (FOLDER / "wait").exists():
            time.sleep(0.01)

    def talk(self):
        print("to the log")
        print("and errors", file=sys.stderr)
        os.write(1, b"also past Python\\n")
        environment = [os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
        print("gpu", environment[0], "threads", environment[1], torch.get_num_threads())
'''


def write_grid(
    folder: Path,
    factors: Mapping[str, Sequence[Any]] = NORMS,
    settings: Mapping[str, Any] | None = None,
    *,
    name: str = "small",
    seeds: int | list[int] = 1,
) -> Path:
    """A grid file with its baseline beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_bytes(BASE.read_bytes())
    grid = {"name": name, "base": "base.yaml", "set": {**SMALL, **(settings or {})}}
    grid |= {"factors": {path: list(levels) for path, levels in factors.items()}, "seeds": seeds}
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(grid, sort_keys=False))
    return file


def write_trouble(folder: Path) -> Path:
    """A plugin whose text is its folder's own, since a text is run once per process."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "trouble.py"
    file.write_text(TROUBLE.format(tag=folder, folder=str(folder)))
    return file


def trouble(*kinds: str) -> dict[str, list[Any]]:
    """A factor: nothing happens, and then each of these."""
    return {"schedule": [{"name": "trouble", "kind": kind, "label": kind} for kind in ("none", *kinds)]}


def plan_of(file: Path, plugins: Sequence[Path] = ()) -> Plan:
    loaded = load_plugins(plugins)
    return make_plan(read_grid(file), plugins=loaded)


def small_config(settings: Mapping[str, Any] | None = None) -> Any:
    """One configuration of that size."""
    from ablation.config.layered import read_base

    draft = read_base(BASE)
    for path, value in {**SMALL, **(settings or {})}.items():
        draft.set(path, value, draft.base, ())
    return draft.build()


def numbers(directory: Path) -> dict[str, Any]:
    """All that a run has measured, without its clock."""
    result = json.loads((directory / "result.json").read_text())
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "train/tokens_per_second")
    found = {name: result[name] for name in ("id", "status", "reason", "quality", "stability")}
    return {
        **found,
        "tokens": result["efficiency"]["tokens"],
        "rows": [{key: value for key, value in row.items() if key not in timed} for row in rows],
    }


def ids_of(runs: Path, grid: str = "small") -> dict[str, list[str]]:
    """Run ids by the label of their cell, seed by seed."""
    manifest = json.loads((runs / grid / "manifest.json").read_text())
    return {cell["label"]: [run["id"] for run in cell["runs"]] for cell in manifest["cells"]}


def all_numbers(runs: Path, grid: str = "small", label: str = "") -> dict[str, Any]:
    """What each run of a grid, or of its cells with ``label`` in their labels, has measured, by its id."""
    ids = [run_id for name, cell in ids_of(runs, grid).items() if label in name for run_id in cell]
    return {run_id: numbers(runs / "store" / run_id[:2] / run_id) for run_id in ids}


def write_results(folder: Path) -> None:
    """The store as after ``ablate run small.yaml``, with made-up results."""
    plan, store = plan_of(folder / "small.yaml"), Store(folder / "runs")
    save_plan(plan, store)
    for number, run in enumerate(plan.runs):
        quality = {"primary": "exact_match", "better": "higher", "final": {"exact_match": number / 8, "loss": 1.0}}
        result = {"schema": 1, "id": run.id, "status": "completed", "reason": None, "quality": quality}
        efficiency = {"parameters": 10, "tokens_per_second": 5.0, "training_seconds": 1.0}
        write_json(store.directory(run.id) / "result.json", {**result, "efficiency": efficiency})


@dataclass
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


Ablate = Callable[..., Answer]


def counts(answer: Answer) -> dict[str, int]:
    """The numbers that a command printed as JSON."""
    return {key: value for key, value in answer.json.items() if isinstance(value, int)}


def output(answer: Answer) -> str:
    """What a command that succeeded printed."""
    assert answer.code == 0, answer.err
    return answer.out


def one_line(answer: Answer) -> str:
    """The error message of a command that failed: one line, no traceback."""
    assert "Traceback" not in answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("ablate: ")
    return line


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ablate:
    """``ablate(*words)`` in this process, so that all commands of a session share one server of processes."""

    def ablate(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ablate", *map(str, words)])
        capsys.readouterr()
        code = cli.main()
        return Answer(code, *capsys.readouterr())

    return ablate


# Deliberately without a guard for `__main__`: a process of a run must not run this once more.
PROGRAM = "import sys; from ablation.cli import main; code = main(); sys.exit(code)"


@contextmanager
def command(folder: Path, *words: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """``ablate`` in a process and session of its own; nothing of it is left afterwards."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), mark(folder): "1"}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [sys.executable, str(program), *map(str, words)],
        env=environment,
        start_new_session=True,
        **{**streams, **options},
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        for left in processes(folder):
            with suppress(ProcessLookupError):
                os.kill(left, 9)


def mark(folder: Path) -> str:
    """The name of a variable that all processes of a command have in their environment."""
    return "ABLATION_TEST_" + "".join(character if character.isalnum() else "_" for character in str(folder))


def processes(folder: Path) -> list[int]:
    """The living processes that a command in this folder has started, itself included."""
    wanted, found = f"{mark(folder)}=1".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if stat[0] != "Z" and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has just ended
            continue
    return found


def eventually(what: Callable[[], Any], seconds: float = 300.0) -> Any:
    """The first true answer; an AssertionError when none came in a time that no healthy machine needs."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return answer


@contextmanager
def permissions_count() -> Iterator[None]:
    """Root, too, is held to the permissions of files."""
    if os.geteuid() != 0:
        yield
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    before, without = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, before) == 0
    without[:] = before[:]
    without[0] &= ~0b110  # effective: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, without) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
