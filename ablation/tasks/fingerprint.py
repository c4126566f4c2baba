"""Hashes of what measures are taken on."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from torch import Tensor, uint8

DIGITS = 16
"""Hexadecimal digits of a fingerprint, 64 bits: enough to distinguish what one table holds."""


def fingerprint_of(value: Any) -> str:
    """A fingerprint of plain data, of text or of bytes."""
    if isinstance(value, str):
        value = value.encode(errors="surrogatepass")
    elif not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode()
    return sha256(value).hexdigest()[:DIGITS]


def fingerprint_of_examples(examples: Mapping[str, Tensor], ignored: int) -> str:
    """A fingerprint of examples; padding beyond the longest of them does not count.

    ``padding`` and ``source_padding`` (N, L) are True at tokens; ``tokens`` and ``source`` are as long, and so are
    targets that are ``ignored`` at all of that padding.
    """
    digest = sha256()
    for name, tensor in sorted(examples.items()):
        mask = examples.get("source_padding" if name.startswith("source") else "padding")
        if mask is not None:
            longest = int(mask.sum(1).max())
            beyond = tensor[:, longest:] if tensor.dim() == 2 else None
            ignores = beyond is not None and tensor.size(1) == mask.size(1) and bool((beyond == ignored).all())
            if name in ("tokens", "padding", "source", "source_padding") or (name == "targets" and ignores):
                tensor = tensor[:, :longest]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(uint8).numpy().tobytes())
    return digest.hexdigest()[:DIGITS]
