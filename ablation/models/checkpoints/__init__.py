"""Checkpoints: systems trained elsewhere, read without their code. Importing this package fills the slot."""

from . import bert, bloom, deberta, gpt2, gpt_neo, llama, marian, t5
from .contract import Checkpoint

__all__ = ["Checkpoint", "bert", "bloom", "deberta", "gpt2", "gpt_neo", "llama", "marian", "t5"]
