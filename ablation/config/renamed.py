"""Keys and components under their former names, so that an older file gets the new name instead of a guess."""

from collections.abc import Iterable

RENAMED = {
    # sections and slots
    "data": "task",
    "optimiser": "optimizer",
    "initialisation": "initialization",
    "readout": "lm_head",
    # training
    "observers": "monitors",
    "observe_every": "monitor_every",
    "keep_weights": "save_weights",
    # a grid file
    "looks": "interim_looks",
    # schedules
    "warmup": "warmup_ratio",
    "final": "min_lr_ratio",
    "decay": "decay_ratio",
    "form": "decay_shape",
    # position encodings
    "share": "rotary_fraction",
    "pairs": "layout",
    "farthest": "max_distance",
    # mixers
    "shared": "tied_projections",
    "taps": "kernel_size",
    "strength": "beta_scale",
    "forget": "forget_bias_init",
    "normalise": "normalize",
    # feedforward: a component and its hyper-parameters
    "mixture": "moe",
    "balance": "aux_loss_coef",
    "z": "router_z_loss_coef",
    # residual connections
    "start": "init_value",
}
"""Former name -> present name. The same former name always became the same present name, wherever it was used."""


def renamed(name: str, allowed: Iterable[str]) -> str | None:
    """What `name` is called now, if that is one of the names `allowed` where it was written; else None."""
    present = RENAMED.get(name)
    return present if present in allowed else None
