"""A job file that says a little of everything."""

from __future__ import annotations

FILE = """
name = "demo"
task = "tasks:make"
algorithm = "fedprox"
rounds = 30

[local]
learning_rate = 0.05

[tree.cloud]
cohort = 3

[tree.fog]
count = 5
deadline = "2min"
"""
