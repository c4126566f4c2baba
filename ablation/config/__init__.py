"""The configuration of an experiment: its schema, the layers it is built from, and the identity of a run."""
