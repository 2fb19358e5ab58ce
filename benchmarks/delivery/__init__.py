"""Bytes per release and node, and the accuracy of what is served: ``python -m benchmarks.delivery``."""
