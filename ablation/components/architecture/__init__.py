"""Architecture: how embedding, blocks and head make a model; a module each, beside what they share."""
