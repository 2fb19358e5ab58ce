"""The attacks: one file each, found by the decorator."""
