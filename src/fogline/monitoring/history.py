"""What a run's rounds say: whether the target was reached, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fogline.jobs import Evaluation, JobError
from fogline.monitoring.human import is_share
from fogline.monitoring.result import Reached, Row


@dataclass(frozen=True, slots=True)
class TargetMetric:
    """The metric that is looked at first."""

    headline: str
    higher_is_better: bool


def check_target(target: float | None, headline: str) -> None:
    """Refuse a target that no model can reach, or that every model has.

    Raises:
        JobError: the headline metric is a share, and the target is none.
    """
    if target is not None and is_share(headline) and not 0 <= target <= 1:
        meant = f"; {target:g} % is {target / 100:g}" if 1 < target <= 100 else ""
        raise JobError(f"The target is {target:g}, but {headline} goes from 0 to 1{meant}.")


class Attendance:
    """Notices rounds of few devices.

    Where devices are drawn or drop out, a round has fewer than the one before every other time. What people should
    know is that a round has fewer than any before it in its run, and so fewer than the one before.
    """

    def __init__(self, history: Sequence[Row] = ()) -> None:
        self._last = self._fewest = math.inf
        for row in history:
            self.saw(row)

    def saw(self, row: Row) -> str:
        """A round is over; a warning if it has fewer devices than every round before it, else nothing."""
        devices, last, fewest = row.get("devices", math.inf), self._last, self._fewest
        self._last, self._fewest = devices, min(devices, fewest)
        if devices >= fewest or fewest == math.inf:
            return ""
        return (
            f"Round {row['round']:.0f} has updates of {devices:,.0f} device{'s' * (devices != 1)}, the fewest so far; "
            f"the round before of {last:,.0f}. tree.minimum says how few may count."
        )


def reached(history: Sequence[Row], evaluation: Evaluation, goal: TargetMetric) -> Reached | None:
    """What it took to reach the target; None if there is none or it was not reached."""
    target = evaluation.target
    if target is None:
        return None
    for row in history:
        value = row.get(goal.headline)
        if value is not None and (value >= target if goal.higher_is_better else value <= target):
            moved = sum(amount for name, amount in row.items() if name.startswith(("up/", "down/")))
            return Reached(target, int(row["round"]), row["seconds"], int(moved), row.get("joules", 0.0))
    return None


def should_stop(history: Sequence[Row], evaluation: Evaluation, goal: TargetMetric) -> bool:
    """Whether the target is reached and that is enough, or nothing has got better for long."""
    if evaluation.stop_at_target and reached(history, evaluation, goal) is not None:
        return True
    if evaluation.patience is None:
        return False
    judged = [row[goal.headline] for row in history if goal.headline in row]
    if not judged:
        return False
    best = judged.index(max(judged) if goal.higher_is_better else min(judged))
    return len(judged) - 1 - best >= evaluation.patience
