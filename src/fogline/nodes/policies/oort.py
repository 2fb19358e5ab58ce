"""Oort: useful and quick children first."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

from fogline.nodes.policies.base import Candidates, Feedback, Selection
from fogline.nodes.policies.pacer import Pacer
from fogline.nodes.policies.parameters import count, number
from fogline.nodes.policies.registry import POLICIES
from fogline.nodes.policies.sampling import draw, draw_weighted, ready


@dataclass(slots=True)
class Arm:
    """What is known of a child that was tried."""

    utility: float
    """Statistical utility: examples times the root mean square of their losses."""
    seconds: float
    last: int
    """Round of its last report, counted from 1."""


@POLICIES.add("oort", "high loss and speed first, with exploration")
class Oort(Selection):
    """Exploits children of high utility and tries new ones.

    Lai et al., "Oort: Efficient Federated Learning via Guided Participant Selection", OSDI 2021, section 4 and
    algorithm 1, with the constants of the authors' code. A child's utility in round ``R`` (from 1) is::

        (norm(n * loss_rms) + sqrt(staleness * ln(R) / L)) * (T / t) ** penalty   if its time t exceeds T

    ``n`` its examples, ``L`` the round it last took part in, ``norm`` to 0..1 after clipping at the ``clip``
    quantile, ``T`` the preferred duration (see ``Pacer``). A share ``e = max(least, exploration * decay**R)``
    of the cohort explores; the rest is drawn in proportion to utility among the children with at least
    ``cutoff`` times the utility of the last that would make it.

    Differences: new children are weighted by speed among ``window`` times as many drawn uniformly, rather than
    among all, so that a selection costs O(children tried so far) and not O(children); shares of a child are
    rounded at random, so that async aggregators, which ask for one at a time, explore too; a child that failed
    has its utility halved. The paper's over-commitment of 1.1 is the tier's ``over_selection``.

    Args:
        exploration, decay, least: the exploring share at first, its factor per round, its lower end.
        clip: quantile of utilities above which they count as equal.
        staleness: weight of the bonus for children not seen for long.
        penalty: exponent for children slower than preferred.
        cutoff: how far below the last that makes it a child may be to enter the draw.
        window: new children looked at per new child wanted.
        percentile: of the known times, that is preferred at first.
        pacer_rounds, pacer_step: rounds between two looks at the pace; percentiles it then moves by.
    """

    needs_loss: ClassVar[bool] = True

    def __init__(
        self,
        *,
        exploration: float = 0.9,
        decay: float = 0.95,
        least: float = 0.2,
        clip: float = 0.98,
        staleness: float = 0.1,
        penalty: float = 2.0,
        cutoff: float = 0.95,
        window: int = 5,
        percentile: float = 30.0,
        pacer_rounds: int = 20,
        pacer_step: float = 5.0,
    ) -> None:
        self._exploration = number("exploration", exploration, 0.0, 1.0)
        self._decay = number("decay", decay, 0.0, 1.0)
        self._least = number("least", least, 0.0, 1.0)
        self._clip = number("clip", clip, 0.0, 1.0)
        self._staleness = number("staleness", staleness, 0.0)
        self._penalty = number("penalty", penalty, 0.0)
        self._cutoff = number("cutoff", cutoff, 0.0, 1.0)
        self._window = count("window", window)
        self._pacer = Pacer(
            number("percentile", percentile, 0.0, 100.0),
            count("pacer_rounds", pacer_rounds),
            number("pacer_step", pacer_step, 0.0, 100.0),
        )
        self._arms: dict[str, Arm] = {}

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        preferred = self._pacer.preferred(round, [arm.seconds for arm in self._arms.values()])
        known = {c: arm for c, arm in self._arms.items() if ready(candidates, c, now)}
        scores = self._scores(known, round + 1, preferred)
        explore = max(self._least, self._exploration * self._decay**round)
        wanted = min(k, int(k * (1.0 - explore) + rng.random()))
        picked = self._exploit(scores, wanted, rng)
        picked += self._explore(candidates, k - len(picked), rng, now, preferred)
        rest = sorted(scores.keys() - set(picked), key=lambda child: (-scores[child], child))
        return picked + rest[: k - len(picked)]

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        old = self._arms.get(child)
        if feedback.failed:
            utility = old.utility / 2 if old else 0.0
            seconds = max(feedback.seconds, old.seconds) if old else feedback.seconds
        else:
            loss = feedback.loss_rms or 0.0
            utility = feedback.samples * loss if math.isfinite(loss) else 0.0
            seconds = feedback.seconds
            self._pacer.gained(utility)
        self._arms[child] = Arm(utility, seconds, round + 1)

    def _scores(self, known: dict[str, Arm], round: int, preferred: float) -> dict[str, float]:
        if not known:
            return {}
        utilities = sorted(arm.utility for arm in known.values())
        low = utilities[0] * 0.999
        top = utilities[min(int(len(utilities) * self._clip), len(utilities) - 1)]
        reach = max(utilities[-1] - low, 1e-4)
        bonus = self._staleness * math.log(max(1, round))
        scores: dict[str, float] = {}
        for child, arm in known.items():
            score = (min(arm.utility, top) - low) / reach + math.sqrt(bonus / arm.last)
            scores[child] = score * self._pace(arm.seconds, preferred)
        return scores

    def _pace(self, seconds: float, preferred: float) -> float:
        return (preferred / seconds) ** self._penalty if seconds > preferred else 1.0

    def _exploit(self, scores: dict[str, float], wanted: int, rng: random.Random) -> list[str]:
        wanted = min(wanted, len(scores))
        if not wanted:
            return []
        least = sorted(scores.values(), reverse=True)[wanted - 1] * self._cutoff
        return draw_weighted([(c, s) for c, s in scores.items() if s >= least], wanted, rng)

    def _explore(
        self, candidates: Candidates, wanted: int, rng: random.Random, now: float, preferred: float
    ) -> list[str]:
        pool = draw(candidates, self._window * wanted, rng, now, without=self._arms)

        def weight(child: str) -> float:
            seconds = candidates.seconds(child)
            pace = 1.0 if seconds is None else self._pace(seconds, preferred)
            return max(1, candidates.samples(child)) * pace

        return draw_weighted([(child, weight(child)) for child in pool], wanted, rng)
