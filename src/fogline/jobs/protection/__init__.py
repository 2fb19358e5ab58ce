"""Differential privacy of a job: where it is made, what it costs, what it promises, and what it refuses."""
