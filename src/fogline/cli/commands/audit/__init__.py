"""``fogline audit``."""
