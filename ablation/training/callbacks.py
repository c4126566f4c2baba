"""The callbacks that a configuration names: Lightning's, of plug-ins."""

from collections.abc import Sequence
from inspect import ismethod
from typing import Any

import lightning.pytorch as lightning

from ..config.experiment import TrainingConfig
from .monitor.base import from_plain, to_plain
from .state_file import check_plain


def build_callbacks(training: TrainingConfig) -> list[lightning.Callback]:
    """Those of the configuration, and after them what keeps their state."""
    callbacks: list[lightning.Callback] = [callback.build() for callback in training.callbacks]
    return [*callbacks, CallbackStates(callbacks)] if callbacks else []


class CallbackStates(lightning.Callback):
    """Keeps all attributes of the callbacks that have no ``state_dict`` of their own, as those of monitors are.

    What no checkpoint can hold is refused before the first step.
    """

    def __init__(self, callbacks: Sequence[lightning.Callback]):
        self.callbacks = callbacks

    def state_dict(self) -> dict[str, Any]:
        """Errors: TypeError where a callback has what no checkpoint can hold."""
        return {place: _attributes(callback) for place, callback in self._without_own()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for place, callback in self._without_own():
            vars(callback).update({key: from_plain(value) for key, value in state[place].items()})

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.state_dict()
        for callback in self.callbacks:
            check_plain(callback.state_dict(), f"callback {type(callback).__name__}")

    def _without_own(self) -> list[tuple[str, lightning.Callback]]:
        """By their place among all, which the configuration fixes; classes may have the same name."""
        plain = ((str(place), each) for place, each in enumerate(self.callbacks))
        return [(place, each) for place, each in plain if type(each).state_dict is lightning.Callback.state_dict]


def _attributes(callback: lightning.Callback) -> dict[str, Any]:
    place = f"callback {type(callback).__name__}"
    own = {name: value for name, value in vars(callback).items() if not ismethod(value)}  # Lightning's log is one
    return {name: to_plain(value, f"{place}: {name}") for name, value in own.items()}
