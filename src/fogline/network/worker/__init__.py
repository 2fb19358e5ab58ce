"""The process that touches numbers and foreign code; the node beside it only moves bytes."""
