"""Modules made at random, every engine against the reference: ``python -m benchmarks.engines``."""
