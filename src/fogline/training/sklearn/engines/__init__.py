"""Engines of the scikit-learn backend: every file registers its own by a decorator."""
