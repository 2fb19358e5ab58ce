"""A TCP proxy with faults, for tests without root."""
