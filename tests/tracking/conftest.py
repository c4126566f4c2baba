"""A W&B server that is none, which several files of tests talk to."""

from collections.abc import Iterator

import pytest
from support.wandb_stub import KEY, Server, serve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield running
