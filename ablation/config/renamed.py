"""Former names of keys and components, so that an older file gets the present name instead of a guess."""

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
    "global_every": "model.layers",
    "global_first": "model.layers",
    "no_position_every": "model.layers",
    # feedforward: a component and its hyper-parameters
    "mixture": "moe",
    "balance": "aux_loss_coef",
    "z": "router_z_loss_coef",
    "renormalise": "renormalize",
    # residual connections
    "start": "init_value",
}
"""Former name -> present name. One former name became the same present name wherever it was used.

A present name with a dot is a path that took over what the key was for.
"""


def renamed(name: str, allowed: Iterable[str]) -> str | None:
    """The end of an error message, such as ``; it is called 'optimizer' now``.

    None unless ``name`` is a former name whose present one is a path, or among those ``allowed`` where it was written.
    """
    present = RENAMED.get(name)
    if present is None:
        return None
    if "." in present:
        return f"; {present!r} is used for it now"
    return f"; it is called {present!r} now" if present in allowed else None
