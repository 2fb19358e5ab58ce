"""How long children take, as an aggregator sees it while it works: when to stop waiting, and how many more to ask."""

from __future__ import annotations

import math
from collections import deque
from statistics import quantiles

from fogline.nodes.policies import Feedback

WINDOW = 200
"""Requests that are looked at, the last ones."""
LEAST = 8
"""Without so many nothing is known."""
MARGIN = 1.5
"""Times the upper quartile that are waited."""
MOST = 2.0
"""Times the cohort that are asked at most."""


class Pace:
    """Learns how long requests take; the journal's replay teaches it again.

    A child that is given up with its round counts with the time that was waited for it, so quartiles hold as long as
    fewer than a quarter are. If more are, the upper quartile is the deadline itself, and the next one lies above it.
    """

    def __init__(self) -> None:
        self._seconds = deque[float](maxlen=WINDOW)
        self._in_time = deque[bool](maxlen=WINDOW)

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        """What came of a request."""
        came = not feedback.failed
        if came or feedback.late:
            self._seconds.append(feedback.seconds)
        if feedback.failed or not feedback.late:  # One that was given up before has been counted.
            self._in_time.append(came)

    @property
    def deadline(self) -> float:
        """Seconds after which only those are missing that are slower than others: half as long again as three in four
        requests take. Infinite while nothing is known."""
        return MARGIN * quantiles(self._seconds, n=4)[2] if len(self._seconds) >= LEAST else math.inf

    @property
    def over_selection(self) -> float:
        """Times the cohort to ask, so that about a cohort's worth comes in time; at most twice."""
        came, asked = sum(self._in_time), len(self._in_time)
        return 1.0 if asked < LEAST else min(MOST, asked / came) if came else MOST
