"""What Ctrl-C does where it has to wait."""

import signal

import pytest

from ablation.processes import interrupt_postponed


def test_an_interrupt_waits_for_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt_postponed():
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interrupt_nothing_is_raised() -> None:
    with interrupt_postponed():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
