"""Accuracy against the share of samples that a small model sends on: ``python -m benchmarks.cascade``."""
