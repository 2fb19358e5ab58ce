"""Fault simulation: the real nodes under losses, partitions and crashes, and the checks that nothing is lost."""

from fogline.simulation.faults.checks import Violation
from fogline.simulation.faults.plan import Plan, draw_plan
from fogline.simulation.faults.world import Outcome, World, run

__all__ = ["Outcome", "Plan", "Violation", "World", "draw_plan", "run"]
