"""The systems of the field against the classes they come from: `python3 tasks.py parity`.

Random weights of theirs, mapped to ours; the largest difference of any score, in float64, over whole and padded texts.
"""

import torch
from rich.console import Console
from rich.table import Table
from test_checkpoints import SYSTEMS, VARIANTS, ours, scores, theirs


def main() -> None:
    table = Table("system", "but for", "compared with", "largest difference", box=None)
    for system, changes in [*((system, {}) for system in SYSTEMS), *VARIANTS]:
        model, said = theirs(system, **changes)
        built = ours(system, model, said)
        differences = []
        for padded in (False, True):
            given, wanted = scores(built, model, padded)
            differences.append(float((given - wanted).abs().max()))
        settings = " ".join(f"{name}={value}" for name, value in changes.items())
        table.add_row(system, settings, f"transformers.{type(model).__name__}", f"{max(differences):.1e}")
    Console().print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
