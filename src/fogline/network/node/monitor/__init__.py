"""What a node shows to those who watch over it: metrics, whether it is well, whether it is ready."""
