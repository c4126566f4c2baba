"""The pluggable Transformer: its configuration, how it is built, initialized, saved, counted and decoded from."""
