"""A little is enough, as far as it helps."""

from __future__ import annotations

from fogline.aggregation.geometry import Matrix
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.search import SearchedCollusion
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("opt_alie")
class OptimisedALittleIsEnough(SearchedCollusion):
    """ALIE whose tau is searched for in every round: the one under which the aggregator's own rule ends up farthest
    from the honest mean (Shejwalkar and Houmansadr, 2021)."""

    def line(self, view: RoundView) -> tuple[float, Matrix]:
        return 1.0, view.std
