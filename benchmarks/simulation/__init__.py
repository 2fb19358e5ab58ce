"""Seconds per round of local training, beside loops by hand: ``python -m benchmarks.simulation``."""
