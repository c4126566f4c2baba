"""Time and cost, measured apart from training."""
