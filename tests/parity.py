"""The systems of the field against the classes they come from: `python3 tasks.py parity`.

Random weights of theirs, mapped to ours; the largest difference of any score, in float64, over whole and padded texts.
"""

import torch
from rich.console import Console
from rich.table import Table
from test_checkpoints import SYSTEMS, ours, scores, theirs


def main() -> None:
    table = Table("system", "compared with", "largest difference", box=None)
    for system in SYSTEMS:
        model, said = theirs(system)
        built = ours(system, model, said)
        differences = []
        for padded in (False, True):
            given, wanted = scores(built, model, padded)
            differences.append(float((given - wanted).abs().max()))
        table.add_row(system, f"transformers.{type(model).__name__}", f"{max(differences):.1e}")
    Console().print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
