"""Training: one run, from its configuration to its result. Only this package knows Lightning."""
