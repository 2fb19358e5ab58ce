"""Whether a new version does well enough, by the rules of its release."""

from __future__ import annotations

import math

from fogline.registry.release import BUCKETS, Probation, Tally

ENOUGH = 20
"""Answers below which a percentile or a mean says nothing."""


def over(rules: Probation, elapsed: float, tally: Tally) -> bool:
    """Whether a version was watched for long enough."""
    if elapsed < rules.seconds:
        return False
    return requests(tally) >= rules.requests or elapsed >= rules.longest


def fault(rules: Probation, tally: Tally, before: Tally, final: bool) -> str | None:
    """What speaks against a version, as a sentence; None: nothing.

    Args:
        rules: of the release.
        tally: of the version.
        before: of the last good one; empty where there is none, and then only errors count.
        final: whether the probation is over. Before, only what the rest of it cannot make good is a fault.
    """
    return (
        _errors(rules, tally, final)
        or _latency(rules, tally, before, final)
        or _confidence(rules, tally, before, final)
        or _accuracy(rules, tally, before)
    )


def requests(tally: Tally) -> int:
    """How many requests were answered, well or not."""
    return tally.answers + tally.errors


def percentile(latency: tuple[int, ...], share: float) -> float:
    """Seconds below which that share of the answers came, even within a bucket; 0 without answers."""
    total, below = sum(latency), 0
    for place, count in enumerate(latency):
        if count and below + count >= share * total:
            low = 0.0 if place == 0 else BUCKETS[place - 1]
            high = BUCKETS[place] if place < len(BUCKETS) else 2 * low
            return low + (high - low) * (share * total - below) / count
        below += count
    return 0.0


def _errors(rules: Probation, tally: Tally, final: bool) -> str | None:
    # Until the end, all requests that are to come may still succeed.
    asked = requests(tally) if final else max(requests(tally), rules.requests)
    if tally.errors > rules.error_rate * asked:
        return f"{tally.errors} of {requests(tally)} requests failed; {100 * rules.error_rate:.1f} % may"
    return None


def _latency(rules: Probation, tally: Tally, before: Tally, final: bool) -> str | None:
    if not _enough(rules, sum(tally.latency), final) or sum(before.latency) < ENOUGH:
        return None
    now, then = percentile(tally.latency, 0.95), percentile(before.latency, 0.95)
    if now <= max(rules.latency_floor, rules.latency_ratio * then):
        return None
    return f"95 % of its answers came within {1e3 * now:.1f} ms, of the last good version's within {1e3 * then:.1f} ms"


def _confidence(rules: Probation, tally: Tally, before: Tally, final: bool) -> str | None:
    if not _enough(rules, tally.confident, final) or before.confident < ENOUGH:
        return None
    now, then = tally.confidence / tally.confident, before.confidence / before.confident
    if math.isnan(then) or then - now <= rules.confidence_drop:
        return None
    return f"its mean confidence is {now:.2f}, the last good version's was {then:.2f}"


def _accuracy(rules: Probation, tally: Tally, before: Tally) -> str | None:
    if min(tally.labels, before.labels) < max(1, rules.labels):
        return None
    now, then = tally.correct / tally.labels, before.correct / before.labels
    if then - now <= rules.accuracy_drop:
        return None
    return f"{100 * now:.1f} % of its labelled answers are right, of the last good version's {100 * then:.1f} % were"


def _enough(rules: Probation, count: int, final: bool) -> bool:
    """Whether so many answers can be judged: as many as the release wants, and in the end some must do."""
    return count >= (ENOUGH if final else max(ENOUGH, rules.requests))
