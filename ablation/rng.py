"""Random number generators, each seeded by a seed and a purpose, and by nothing else.

The strings that name purposes are part of every result: changing one changes the numbers of the runs that use it.
"""

from hashlib import sha256

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, such as ``derive(seed, "initialise", "blocks.0.norm")``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator on the CPU whose numbers do not depend on random numbers used elsewhere.

    In a task, ``generator(seed, "curve", epoch)`` gives each seed and epoch its own numbers.
    """
    return torch.Generator().manual_seed(derive(seed, *purpose))
