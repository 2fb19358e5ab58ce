"""What a node has for its parent and keeps until that answers: device and aggregator send again by one rule."""

from __future__ import annotations

import msgspec

from fogline.nodes.effects import Effect, Send, SetTimer
from fogline.nodes.messages import Key, Report, Step
from fogline.retries import Backoff

RETRY = "retry"
"""The timer at which reports are sent again."""


class Outbox(msgspec.Struct, gc=False, eq=False):
    """Reports without a receipt, in order; newer work does not push them out.

    It changes by records only (:meth:`post`, :meth:`confirm`, :meth:`clear`), so the replay of a journal gives it back.
    How often it was sent is no part of that: after a crash the waits begin anew.
    """

    reports: dict[int, Report] = {}
    inside: dict[int, tuple[Key, ...]] = {}
    """The updates of children that are in a report, or in an exchange at whose end there will be one."""
    step: Step | None = None
    """What was sent in a step of an exchange, until the parent answers to it."""
    attempt: int = 0
    """How often it was sent since a report was added."""

    def __eq__(self, other: object) -> bool:
        """Whether records say the same of both."""
        return isinstance(other, Outbox) and (
            (self.reports, self.inside, self.step) == (other.reports, other.inside, other.step)
        )

    def post(self, report: Report, inside: tuple[Key, ...] = ()) -> None:
        """Keep a report, and the updates that are in it."""
        self.reports[report.task] = report
        if inside:
            self.hold(report.task, inside)
        self.attempt = 0

    def hold(self, task: int, inside: tuple[Key, ...]) -> None:
        """Keep updates that will be in a report."""
        self.inside[task] = inside

    def enter(self, step: Step | None) -> None:
        """Send that in an exchange from now on, or nothing any more."""
        self.step = step
        self.attempt = 0

    def confirm(self, task: int) -> tuple[Key, ...]:
        """The parent has that report, or has refused it, or there will be none: forget it. Gives the updates that were
        in it."""
        self.reports.pop(task, None)
        return self.inside.pop(task, ())

    def clear(self) -> None:
        """Forget all reports: nobody waits for them any more."""
        self.reports, self.inside, self.step = {}, {}, None

    def held(self, task: int) -> tuple[Key, ...]:
        """Values that are kept for a report: the updates in it, and its own."""
        report, inside = self.reports.get(task), self.inside.get(task, ())
        return inside if report is None or report.update is None else (*inside, report.update)

    def keys(self) -> set[Key]:
        """Values that are kept for all of them."""
        return {key for task in {**self.reports, **self.inside} for key in self.held(task)}

    def send(self, parent: str, now: float, retry: Backoff | None) -> list[Effect]:
        """Send all of them, and the step that waits for its answer, now and again.

        Args:
            parent: to whom.
            now: the time.
            retry: how long until they are sent again; None where nothing is lost.
        """
        effects: list[Effect] = [Send(parent, report) for report in self.reports.values()]
        if self.step is not None:
            effects.append(Send(parent, self.step))
        if effects and retry is not None:
            self.attempt += 1
            effects.append(SetTimer(RETRY, now + retry.after(self.attempt)))
        return effects
