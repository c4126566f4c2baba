"""Tasks whose examples are generated at random as they are needed, at any length."""
