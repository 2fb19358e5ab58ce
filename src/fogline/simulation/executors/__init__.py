"""Where cohorts are trained and models judged: one file an executor, all behind one interface."""

from fogline.simulation.executors.base import EXECUTORS, Bench, Executor
from fogline.simulation.executors.choosing import executor_for, useful_processes

__all__ = ["EXECUTORS", "Bench", "Executor", "executor_for", "useful_processes"]
