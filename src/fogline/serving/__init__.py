"""Predictions at the edge, and keeping them right."""
