"""Damaged bytes for whatever decodes bytes from outside: ``python -m benchmarks.fuzz``."""
