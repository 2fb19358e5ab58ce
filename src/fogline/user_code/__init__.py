"""Code that is not ours: how it is found by name, run, and named where it is wrong."""
