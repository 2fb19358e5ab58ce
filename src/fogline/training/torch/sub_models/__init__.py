"""Smaller models of a PyTorch module: narrower, shallower, or of which only some layers train."""
