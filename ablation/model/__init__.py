"""The pluggable Transformer: its configuration, how it is built, started, saved, counted and decoded from."""
