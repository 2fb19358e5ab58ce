"""``fogline models``."""
