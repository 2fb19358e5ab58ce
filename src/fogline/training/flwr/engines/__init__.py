"""Engines of the Flower backend: every file registers its own by a decorator."""
