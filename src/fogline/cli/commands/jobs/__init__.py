"""``fogline jobs``."""
