"""Tree against star over emulated mobile links: ``python -m benchmarks.wan``."""
