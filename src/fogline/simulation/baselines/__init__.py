"""What a run is compared with: the same model, trained without federation. One file a baseline."""

from fogline.simulation.baselines.base import BASELINES, FinishedRun
from fogline.simulation.baselines.making import check_baselines, make_baselines

__all__ = ["BASELINES", "FinishedRun", "check_baselines", "make_baselines"]
