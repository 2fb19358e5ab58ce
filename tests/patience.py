"""How long a test waits for what must come."""

PATIENCE = 300.0
"""Seconds. Longer than the busiest machine takes, so that it only ends what hangs; never a measure of anything."""
