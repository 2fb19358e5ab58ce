"""The same job in Fogline and in other frameworks: ``python -m benchmarks.peers``."""
