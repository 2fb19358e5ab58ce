"""Whether a version does worse than the one before, from counts of both.

A fall counts if it is beyond its threshold and beyond what chance explains: the one-sided two-proportion z-test at 1 %
(pooled variance; Fleiss, Statistical Methods for Rates and Proportions, ch. 2). For the mean confidence, which lies in
[0, 1], the variance of a proportion is an upper bound.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

from fogline.registry.release import BUCKETS, Tally, Thresholds

Z = 2.326
"""Standard deviations that chance exceeds in 1 % of cases."""
TAIL = 0.95
"""The quantile of latency that is compared."""


class SampleMean(NamedTuple):
    """A mean of values in [0, 1]."""

    total: float
    number: int

    @property
    def value(self) -> float:
        return self.total / self.number


def fault(new: Tally, before: Tally, limits: Thresholds) -> str | None:
    """What is wrong with the new version, as a clause; None if nothing is, or too little is known.

    Args:
        new: of the new version.
        before: of the version before, to compare with.
        limits: what is too much.
    """
    requests = new.answers + new.errors
    labels, answers = max(1, limits.labels), max(1, limits.answers)
    if min(new.labels, before.labels) >= labels:
        now, then = SampleMean(new.correct, new.labels), SampleMean(before.correct, before.labels)
        if _fell(then, now, limits.accuracy_drop):
            return f"accuracy on labels fell from {then.value:.3f} to {now.value:.3f}"
    if min(new.confident, before.confident) >= answers:
        now, then = SampleMean(new.confidence, new.confident), SampleMean(before.confidence, before.confident)
        if _fell(then, now, limits.confidence_drop):
            return f"mean confidence fell from {then.value:.3f} to {now.value:.3f}"
    if requests >= answers:
        # Without a version to compare with, no request may fail.
        now, then = _good(new), _good(before) if before.answers + before.errors else SampleMean(requests, requests)
        if _fell(then, now, limits.error_rate):
            return f"the share of failed requests rose from {1 - then.value:.3f} to {1 - now.value:.3f}"
    if min(sum(new.latency), sum(before.latency)) >= answers:
        now, then = tail_latency(new), tail_latency(before)
        if now > limits.latency_floor and now > limits.latency_ratio * then:
            return f"latency (95th percentile) rose from {then * 1e3:.2f} to {now * 1e3:.2f} ms"
    if limits.agreement is not None and new.compared >= answers:
        agreed = SampleMean(new.agreed, new.compared)
        if agreed.value < limits.agreement:
            return f"it agreed with the version served in only {agreed.value:.3f} of {agreed.number} answers"
    return None


def comparable(beside: Tally, new: Tally, limits: Thresholds) -> bool:
    """Whether what the version before did at the same time is enough to compare with."""
    labelled = beside.labels >= limits.labels or new.labels < limits.labels
    return labelled and beside.answers + beside.errors >= limits.answers


def tail_latency(tally: Tally) -> float:
    """The 95th percentile of latency, in seconds, taken as even within a bucket; 0 without answers.

    What is slower than the last bound counts as twice that.
    """
    left = TAIL * sum(tally.latency)
    bounds = (0.0, *BUCKETS, 2 * BUCKETS[-1])
    for count, low, high in zip(tally.latency, bounds, bounds[1:], strict=False):
        if count and left <= count:
            return low + (high - low) * left / count
        left -= count
    return bounds[-1] if any(tally.latency) else 0.0


def _good(tally: Tally) -> SampleMean:
    return SampleMean(tally.answers, tally.answers + tally.errors)


def _fell(before: SampleMean, after: SampleMean, threshold: float) -> bool:
    fall = before.value - after.value
    pooled = min(max((before.total + after.total) / (before.number + after.number), 0.0), 1.0)
    chance = Z * sqrt(pooled * (1 - pooled) * (1 / before.number + 1 / after.number))
    return fall > max(threshold, chance)
