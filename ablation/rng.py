"""Random numbers that depend on what they are for, and on nothing else."""

from hashlib import sha256

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed of 63 bits for one purpose, such as ``derive(seed, "initialise", "blocks.0.norm")``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator on the CPU whose numbers do not change when others are drawn elsewhere."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
