"""The mirror to Weights & Biases: run directories are replayed into W&B; training knows nothing of it.

Only this package imports wandb, and only once a mirror has started.
"""

from .mirror import Mirror
from .mode import Mode, resolve_mode
from .session import TrackedRun

__all__ = ["Mirror", "Mode", "TrackedRun", "resolve_mode"]
