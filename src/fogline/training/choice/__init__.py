"""Which engine trains: those that agree with the reference are timed, and the quickest is taken."""
