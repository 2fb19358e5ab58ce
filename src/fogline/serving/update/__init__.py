"""How a new version gets onto a node, and off it again."""
