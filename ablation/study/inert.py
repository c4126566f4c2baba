"""Inert levels: those with which two training steps give the very same numbers as with the baseline's level.

A setting may have no effect where it stands: a window longer than the sequences, a decay of embeddings without decay.
An ablation of it says nothing, however many seeds it has.
"""

from typing import TYPE_CHECKING, Any

from ..config.experiment import ExperimentConfig

if TYPE_CHECKING:
    from ..grid.plan import Cell, Plan

STEPS = 2
_MEASURED = {"model", "task", "optimizer", "schedule"}
"""Sections whose effect two steps show; of ``training`` only what is part of the loss and of a step."""
_OF_STEP = {"label_smoothing", "z_loss", "gradient_clip", "accumulate"}


def inert_cells(plan: "Plan") -> list[str]:
    """The labels of cells that train exactly like the baseline, as far as two steps show; unknown ones are left out."""
    baseline, *others = plan.cells
    reference: Any = None
    found = []
    for cell in others:
        if not _shown_by_steps(baseline, cell):
            continue
        reference = reference or _trace(baseline.runs[0].config)
        if _trace(cell.runs[0].config) == reference:
            found.append(cell.label)
    return found


def _shown_by_steps(baseline: "Cell", cell: "Cell") -> bool:
    """Whether what differs between the two would be seen."""
    one, other = baseline.runs[0].config, cell.runs[0].config
    differing = {name for name in type(one).model_fields if getattr(one, name) != getattr(other, name)}
    training = {
        name for name in type(one.training).model_fields if getattr(one.training, name) != getattr(other.training, name)
    }
    return differing <= _MEASURED | {"training"} and training <= _OF_STEP


def _trace(config: ExperimentConfig) -> tuple[Any, ...]:
    """The losses of the first steps, a fingerprint of the weights after them, and the schedule."""
    import torch
    from torch import nn

    from ..components.architecture.base import call_model
    from ..model.build import build_model
    from ..model.trained import choose_trained
    from ..rng import derive
    from ..tasks.base import model_inputs
    from ..tasks.loss import training_loss

    task, training = config.task.build(), config.training
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes).train()
    choose_trained(model, training.freeze, training.lora, config.seed)
    optimizer = config.optimizer.build().for_model(model)
    examples = task.training(config.seed, 0)
    batch = {name: tensor[: task.batch_size] for name, tensor in examples.items()}
    values: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(config.seed, "inert"))
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses: list[torch.Tensor] = []
            logits = call_model(model, model_inputs(batch), losses=losses)
            loss, _ = training_loss(
                task, logits, batch, losses, label_smoothing=training.label_smoothing, z_loss=training.z_loss
            )
            (loss / training.accumulate).backward()  # type: ignore[no-untyped-call]
            if training.gradient_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
            optimizer.step()
            values.append(loss.item())
    weights = tuple(parameter.detach().double().sum().item() for parameter in model.parameters())
    schedule = config.schedule.build()
    factors = tuple(schedule.factor(step, training.max_steps) for step in range(training.max_steps))
    return tuple(values), weights, factors, training.accumulate
