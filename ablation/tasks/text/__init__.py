"""Tasks of a text file: predicting the next token, or filling in masked ones."""
