"""Robust aggregation: how fast rules are, beside ByzFL's."""
