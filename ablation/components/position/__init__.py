"""Position: how the model is given the positions of the tokens; a module per family, the base class in ``base``."""
