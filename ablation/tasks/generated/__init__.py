"""Tasks whose examples are drawn from a generator as they are needed, at any length."""
