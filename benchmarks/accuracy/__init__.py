"""Published accuracies and rounds against ours: ``python -m benchmarks.accuracy``."""
