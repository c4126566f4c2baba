"""A W&B server that is none, which several files of tests talk to."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mirrored import Runs
from support.wandb_stub import KEY, Server, serve

from ablation.tracking import mirror
from ablation.tracking.session import SETTINGS


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield running


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(mirror, "POLL_SECONDS", 0.05)
    monkeypatch.setitem(SETTINGS, "init_timeout", 3)
    monkeypatch.setitem(SETTINGS, "finish_timeout", 3)


@pytest.fixture
def runs(isolated: None, tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path / "runs")
    yield made
    for opened in made.mirrors:
        opened.close()
