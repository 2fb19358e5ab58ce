"""One trace of each round, over all nodes that take part in it."""
