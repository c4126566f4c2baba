"""How texts and rows are read from files, and split into tokens."""
