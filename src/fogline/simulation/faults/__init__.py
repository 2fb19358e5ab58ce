"""Fault simulation: the real nodes under losses, partitions and crashes, and the checks that nothing is lost."""

from fogline.simulation.faults.checks import InvariantError
from fogline.simulation.faults.differences import DifferencesWorld
from fogline.simulation.faults.feedback import FeedbackWorld
from fogline.simulation.faults.machines import SeedOutcome
from fogline.simulation.faults.plan import FaultPlan, Where, draw_plan
from fogline.simulation.faults.survey import run_survey
from fogline.simulation.faults.world import World, run

__all__ = [
    "DifferencesWorld",
    "FaultPlan",
    "FeedbackWorld",
    "InvariantError",
    "SeedOutcome",
    "Where",
    "World",
    "draw_plan",
    "run",
    "run_survey",
]
