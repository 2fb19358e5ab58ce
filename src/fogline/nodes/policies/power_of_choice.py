"""Power-of-choice selection."""

from __future__ import annotations

import heapq
import math
import random
from typing import ClassVar

from fogline.nodes.policies.base import Candidates, Feedback, Selection
from fogline.nodes.policies.parameters import number
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import all_ready, draw_weighted
from fogline.nodes.policies.weighted import by_data


@POLICIES.add("power_of_choice", "of candidates drawn by data, those with the highest last loss")
class PowerOfChoice(Selection):
    """Draws ``d = factor * k`` candidates by data and takes the ``k`` with the highest loss.

    Cho, Wang and Joshi, "Towards Understanding Biased Client Selection in Federated Learning", AISTATS 2022,
    section 4: the variant rpow-d, which uses the loss that a child last reported instead of asking all ``d``
    again; a child without one counts as infinite, so it is tried first. The loss is the root mean square over
    its examples where the paper takes the mean. O(n log d).

    Args:
        factor: candidates per child wanted; 1 is selection by data, more leans further to high losses.
    """

    needs_loss: ClassVar[bool] = True

    def __init__(self, *, factor: float = 2.0) -> None:
        self._factor = number("factor", factor, 1.0)
        self._losses: dict[str, float] = {}

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        ready = by_data(candidates, all_ready(candidates, now))
        drawn = draw_weighted(ready, math.ceil(self._factor * k), rng)
        return heapq.nlargest(k, drawn, key=lambda child: self._losses.get(child, math.inf))

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        if feedback.loss_rms is not None and math.isfinite(feedback.loss_rms):
            self._losses[child] = feedback.loss_rms
        elif feedback.failed:
            self._losses.setdefault(child, 0.0)
