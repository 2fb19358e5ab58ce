"""``fogline up``: a job on real processes of this machine."""
