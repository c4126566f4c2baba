"""Precision: what is computed in full where the rest is lowered."""

from contextlib import nullcontext

import torch
from torch import Tensor


def in_full(*tensors: Tensor) -> tuple[Tensor, ...]:
    """At least 32 bits: the errors of a state add up over a text."""
    return tuple(x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for x in tensors)


def full_precision(x: Tensor) -> "torch.autocast | nullcontext[None]":
    """Where it is entered, mixed precision does not lower what ``in_full`` has raised."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
