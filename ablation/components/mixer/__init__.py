"""Mixer: what tokens learn from each other; a module per family, the base class in ``base``."""
