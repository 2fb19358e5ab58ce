"""When a tier asks the one above it."""
