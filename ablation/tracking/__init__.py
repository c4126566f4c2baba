"""The mirror to Weights & Biases: run directories are replayed into W&B; training knows nothing of it.

Only this package imports wandb, and only once a mirror has started.
"""
