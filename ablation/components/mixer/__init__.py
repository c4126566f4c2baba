"""Mixer: what mixes information along the sequence; a module per family, the base classes in ``base``."""
