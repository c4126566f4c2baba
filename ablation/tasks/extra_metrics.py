"""Extra metrics: what a configuration's ``metrics`` measures beside the metrics that its task has.

A plugin registers a ``torchmetrics.Metric`` in the slot ``metric``. Its constructor is handed the task, its ``update``
gets logits and targets as in ``tasks.metrics``, ``higher_is_better`` is its direction and ``unit`` its unit::

    @register("metric", "entropy", source="Shannon 1948")
    class Entropy(torchmetrics.MeanMetric):
        higher_is_better = None
        unit = "nats"

        def __init__(self, task: Task):
            super().__init__()

        def update(self, logits: Tensor, targets: Tensor) -> None: ...

Those here only make theirs when they are asked for, as importing torchmetrics takes seconds.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from ..errors import InputError
from ..registry import ComponentConfig, register
from .base import Task
from .minimal_pairs import PAIR_ACCURACY

if TYPE_CHECKING:
    from torchmetrics import Metric


class ExtraMetric:
    """Base of a metric that is made when it is asked for."""

    unit: ClassVar[str] = ""
    """What one is of it, as in "nats"; empty for a fraction."""

    def __init__(self, task: Task):
        self.task = task

    @property
    def n_outputs(self) -> int:
        """How many logits there are for a target."""
        return self.task.n_classes or self.task.vocabulary

    def metric(self) -> "Metric":
        """The metric itself."""
        raise NotImplementedError


@register("metric", "top_k_accuracy", source="Russakovsky et al. 2014, arXiv:1409.0575")
class TopKAccuracy(ExtraMetric):
    """The fraction of the targets that are among the ``k`` highest logits."""

    def __init__(self, task: Task, *, k: Annotated[int, Field(ge=1)] = 5):
        super().__init__(task)
        if k > self.n_outputs:
            raise InputError(f"metrics: top_k_accuracy: k is {k}, and there are only {self.n_outputs} outputs")
        self.k = k

    def metric(self) -> "Metric":
        from .metrics import TokenAccuracy

        return TokenAccuracy(self.n_outputs, self.k)


@register("metric", "calibration_error", source="Guo et al. 2017, arXiv:1706.04599")
class CalibrationError(ExtraMetric):
    """How far confidence is from accuracy: the mean of |accuracy - confidence| over ``bins`` of confidence."""

    def __init__(self, task: Task, *, bins: Annotated[int, Field(ge=1)] = 15):
        super().__init__(task)
        self.bins = bins

    def metric(self) -> "Metric":
        from .metrics import TokenCalibrationError

        return TokenCalibrationError(self.n_outputs, self.bins)


MEASURED_ELSEWHERE = ("edit_distance", PAIR_ACCURACY)
"""Of what models write, and of pairs of sentences."""


def all_metrics(task: Task, extra: Sequence[ComponentConfig[Any]], set_name: str = "") -> "dict[str, Metric]":
    """New metrics of a task, for one of its sets, and the extra ones. Errors: InputError for a name that is taken."""
    from torchmetrics import Metric

    metrics = task.metrics_of(set_name) if set_name else task.metrics()
    for config in extra:
        if config.name in (*metrics, *MEASURED_ELSEWHERE):
            raise InputError(f"metrics: {config.name!r} is measured already: {', '.join(metrics)}")
        made = config.build(task)
        metric = made.metric() if isinstance(made, ExtraMetric) else made
        if not isinstance(metric, Metric):
            raise InputError(f"metrics: {config.name!r} is not a torchmetrics.Metric")
        if isinstance(made, ExtraMetric):
            metric.unit = made.unit
        metrics[config.name] = metric
    return metrics


def unit_of(metric: "Metric") -> str:
    """The unit that a metric declares; empty where it has none."""
    return str(getattr(metric, "unit", ""))
