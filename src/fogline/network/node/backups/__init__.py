"""A node's folder as one file, made while the node stands or runs, and a folder from such a file again."""
