"""A node of the tree, whatever its tier: its jobs, its children, its parent."""
