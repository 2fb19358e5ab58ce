"""A round's deadline: until when a node waits for the children that it asked."""

from __future__ import annotations

from fogline.nodes.children.pace import Pace
from fogline.nodes.role import AggregatorRole


def round_deadline(role: AggregatorRole, now: float, hops: int = 1, pace: Pace | None = None) -> float:
    """The job's seconds at which a round that asks its children now is closed, whoever is missing.

    Args:
        role: with the tier's deadline, and the time after which the runtime gives children up.
        now: the job's seconds.
        hops: of a ring; they share its time, so that one lost child does not end it.
        pace: how long requests have taken; with ``deadline = "auto"`` no longer is waited than it says.
    """
    waited = min(role.deadline / hops, role.patience)
    if pace is not None and role.tier.deadline == "auto":
        waited = min(waited, pace.deadline)
    return now + waited
