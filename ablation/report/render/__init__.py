"""The comparison table, written out: a module per format. Renderers compute nothing."""
