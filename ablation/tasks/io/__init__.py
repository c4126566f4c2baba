"""How texts and rows are read from files, and turned into tokens."""
