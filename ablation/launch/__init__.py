"""Launch: who trains the runs that are missing."""
