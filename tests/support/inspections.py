"""What `ablate inspect` finds in models whose heads have known roles."""

import random
from typing import Any

ROLES = [{"previous": 0.9, "induction": 0.0}, {"previous": 0.1, "induction": 0.8}, {"previous": 0.1, "induction": 0.1}]
LOST = [0.3, 0.8, 0.0]
"""By role, how much the loss rises without a head that has it."""


def model_inside(seed: int, order: list[int], with_weights: bool = True) -> dict[str, Any]:
    """A model whose heads have the roles in this order."""
    noise = random.Random(seed)
    loss = 2.0 + noise.gauss(0, 0.05)

    def measures(rise: float) -> dict[str, float]:
        return {"loss": loss + rise + noise.gauss(0, 0.004), "accuracy": 0.5 - rise / 4}

    return {
        "run": f"{seed:032x}",
        "seed": seed,
        "measures": {"loss": loss, "accuracy": 0.5},
        "sublayers": [
            {
                "name": "layer 0 mixer",
                "stack": "",
                "layer": 0,
                "sublayer": "mixer",
                "even": {},
                "reason_no_weights": None if with_weights else "has none",
            }
        ],
        "heads": [
            {
                "head": f"layer 0 head {index}",
                "stack": "",
                "layer": 0,
                "sublayer": "mixer",
                "index": index,
                "scores": {name: value + noise.gauss(0, 0.02) for name, value in ROLES[role].items()}
                if with_weights
                else {},
                "importance": LOST[role],
            }
            for index, role in enumerate(order)
        ],
        "knockouts": [
            {"part": f"layer 0 head {index}", "family": "heads", "measures": measures(LOST[role])}
            for index, role in enumerate(order)
        ]
        + [{"part": "layer 0 mixer", "family": "sublayers", "measures": measures(1.5)}],
        "pruning": [
            {"head": "", "share": share, "measures": measures(rise)}
            for share, rise in ((1 / 3, 0.0), (2 / 3, 0.3), (1.0, 1.5))
        ],
        "logit_lens": [{"layer": 0, "measures": measures(0)}],
        "norms": [{"part": "layer 0 mixer", "norm": 0.5}],
    }


ORDERS = [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1], [2, 1, 0]]
"""By seed."""


def inspection(orders: list[list[int]], **more: Any) -> dict[str, Any]:
    """The inspection.json of one cell with a seed for each of the orders."""
    runs = [model_inside(seed, order, **more) for seed, order in enumerate(orders)]
    cell = {"label": "baseline", "unit": "token", "runs": runs}
    return {"schema": 1, "grid": "g", "ablation": "mean", "cells": [cell], "similarities": []}
