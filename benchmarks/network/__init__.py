"""Rounds, blobs and crowds in real processes: ``python -m benchmarks.network``."""
