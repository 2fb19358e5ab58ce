"""The weighted mean."""

from __future__ import annotations

from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES


@RULES.add("mean")
class Mean(Rule):
    """Weighted mean, in floating point; it streams."""
