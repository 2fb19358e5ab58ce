"""Which engine trains: measured on the first devices, and held against the reference before it is taken."""
