"""The weighted mean in fixed point."""

from __future__ import annotations

from collections.abc import Mapping

from fogline.aggregation.exact import ExactFold
from fogline.aggregation.fold import Fold
from fogline.aggregation.gathering import Keep, MixingPlan
from fogline.aggregation.look import ExactLook
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES


@RULES.add("exact")
class Exact(Rule):
    """Weighted mean, in fixed point: the same bits for any order and any tree; it streams."""

    def fold(self, keep: Keep | None = None, plans: Mapping[str, MixingPlan] | None = None) -> Fold:
        return ExactFold()

    def look(self) -> Fold:
        return ExactLook()
