"""What tests of several commands share."""

from typing import Any

import pytest

from ablation.launch.local import LocalLauncher


@pytest.fixture
def nothing_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run may be started."""

    def start(*_: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(LocalLauncher, "start", start)
