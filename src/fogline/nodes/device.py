"""The state machine of a device: take work, train, report until the parent has it."""

from __future__ import annotations

from fogline.nodes.effects import Effect, Forget, Send, SetTimer, Train, Write
from fogline.nodes.events import Event, Fired, Halt, Received, Started, Trained
from fogline.nodes.messages import Receipt, Report, Stop, Work, update_key
from fogline.nodes.records import Assigned, Confirmed, Ended, Posted, Record

RETRY = "retry"


class Device:
    """A node with only an uplink.

    Args:
        name: the device's own name.
        parent: whose work it takes.
        retry: seconds until an unconfirmed report is sent again, doubled each time up to a minute; None where
            the runtime's links lose nothing.
    """

    __slots__ = ("attempt", "ended", "model", "name", "outbox", "parent", "retry", "round", "task")

    def __init__(self, name: str, parent: str, retry: float | None = None) -> None:
        self.name = name
        self.parent = parent
        self.retry = retry
        self.task = -1
        self.model: str | None = None
        self.round = 0
        self.outbox: Report | None = None
        self.attempt = 0
        self.ended = False

    @property
    def idle(self) -> bool:
        """Whether it neither trains nor waits for a receipt."""
        return self.model is None and self.outbox is None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """React to what happened at time ``now`` (seconds)."""
        match event:
            case Received(sender=sender) if sender != self.parent:
                return []
            case Received(message=Work() as work):
                return self._work(work, now)
            case Received(message=Receipt(task=task)):
                return self._receipt(task)
            case Received(message=Stop()) | Halt():
                self.apply(Ended())
                return [Write(Ended())]
            case Trained():
                return self._trained(event, now)
            case Fired(timer="retry") if self.outbox is not None:
                return self._send_report(now)
            case Started():
                return self._resume(now)
            case _:
                return []

    def apply(self, record: Record) -> None:
        """Take over what a record says; the journal's replay calls this and nothing else."""
        match record:
            case Assigned(task=task, round=round_, model=model):
                self.task, self.round, self.model, self.outbox = task, round_, model, None
            case Posted(report=report):
                self.model, self.outbox, self.attempt = None, report, 0
            case Confirmed():
                self.outbox = None
            case Ended():
                self.model, self.outbox, self.ended = None, None, True
            case _:
                raise ValueError(f"A device's journal holds no {type(record).__name__}.")

    def _log(self, record: Record) -> Write:
        self.apply(record)
        return Write(record)

    def _work(self, work: Work, now: float) -> list[Effect]:
        if self.outbox is not None and work.task == self.outbox.task:
            return self._send_report(now)
        if self.ended or work.task <= self.task:
            return []  # A copy of a request that was taken before.
        return [self._log(Assigned(work.task, work.round, work.model)), self._train(work.model)]

    def _train(self, model: str) -> Train:
        return Train(self.task, model, update_key(self.parent, self.task), self.round)

    def _trained(self, event: Trained, now: float) -> list[Effect]:
        if event.task != self.task or self.model is None:
            return [Forget((event.update,))]  # Newer work came in between.
        report = Report(
            task=event.task,
            update=None if event.failure else event.update,
            samples=event.samples,
            loss_rms=event.loss_rms,
            failure=event.failure,
        )
        return [self._log(Posted(report)), *self._send_report(now)]

    def _send_report(self, now: float) -> list[Effect]:
        assert self.outbox is not None
        effects: list[Effect] = [Send(self.parent, self.outbox)]
        if self.retry is not None:
            effects.append(SetTimer(RETRY, now + min(60.0, self.retry * 2**self.attempt)))
            self.attempt += 1
        return effects

    def _receipt(self, task: int) -> list[Effect]:
        if self.outbox is None or self.outbox.task != task:
            return []
        update = self.outbox.update
        effects: list[Effect] = [self._log(Confirmed(task))]
        if update is not None:
            effects.append(Forget((update,)))
        return effects

    def _resume(self, now: float) -> list[Effect]:
        if self.outbox is not None:
            return self._send_report(now)
        return [self._train(self.model)] if self.model is not None else []
