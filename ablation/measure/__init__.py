"""Costs without training."""
