"""Programs that measure Fogline; each prints one JSON object as its last line."""
