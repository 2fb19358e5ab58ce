"""Signed metadata of releases: The Update Framework."""
