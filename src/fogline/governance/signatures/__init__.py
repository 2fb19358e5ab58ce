"""What is signed, in which envelope, and with whose keys."""
