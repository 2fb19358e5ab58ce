"""The simulated machines: where each sits, what reaches it, and what was counted."""
