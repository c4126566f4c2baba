"""Position: how a token gets to know its place in the sequence; a module per family, the base class in ``base``."""
