"""Store: run directories, what is missing, and who may write."""
