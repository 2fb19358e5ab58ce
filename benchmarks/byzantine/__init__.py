"""Robust aggregation: how accurate models get under attack, and how fast rules are, beside ByzFL's."""
