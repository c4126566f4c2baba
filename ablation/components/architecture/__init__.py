"""Architecture: how embedding, blocks and head make a model; a module each, what they share in ``stack``."""
