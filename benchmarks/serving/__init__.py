"""Predictions, beside other servers: ``python -m benchmarks.serving``."""
