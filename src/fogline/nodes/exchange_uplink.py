"""An aggregator's part in the exchanges of its parent's rounds: it brings what it has merged, and then reports."""

from __future__ import annotations

from collections.abc import Callable

from fogline.nodes import records
from fogline.nodes.effects import Count, Effect, Forget
from fogline.nodes.events import StepComputed
from fogline.nodes.exchange import superseded
from fogline.nodes.ledger import Ledger
from fogline.nodes.messages import Key, Marks, Step


class UplinkExchange:
    """What an aggregator does as a child in an exchange.

    From the first step on nobody but the parent may use what is brought: its sum may hold it, also where the report
    does not come. So where the exchange breaks off, what is inside is dropped, and counted.

    Args:
        name: of the aggregator.
        parent: of the aggregator.
        ledger: of the aggregator; all that must survive a crash is there.
        log: writes a record.
        do: takes an effect.
        post: sends what waits for the parent.
    """

    def __init__(
        self,
        name: str,
        parent: str,
        ledger: Ledger,
        *,
        log: Callable[[records.Record], None],
        do: Callable[[Effect], None],
        post: Callable[[], None],
    ) -> None:
        self._name, self._parent, self._ledger = name, parent, ledger
        self._log, self._do, self._post = log, do, post
        self._computing = False
        """No record says it: after a crash the step begins anew."""

    def is_in(self, task: int) -> bool:
        """Whether it has entered the exchange of that request, and not reported yet."""
        return self._ledger.up is not None and self._ledger.up.task == task

    def enter(self, task: int, devices: int, marks: Marks) -> None:
        """What the parent asked for is made, of so many devices, and of which."""
        self._log(records.Entered(task, devices, marks))
        self._compute(None)

    def resume(self) -> None:
        """The node is back from a crash."""
        if self._ledger.up is not None and self._ledger.up.number < 0:
            self._compute(None)

    def expects(self, step: Step) -> bool:
        """Whether that is the answer for which it waits, so that the value of it may be stored."""
        return self._ledger.up is not None and not self._computing and self._ledger.up.awaits(step)

    def answered(self, step: Step) -> None:
        """The parent answered to a step: the next one begins."""
        if self.expects(step):
            self._compute(step.value)

    def computed(self, event: StepComputed) -> None:
        """A step was computed: it is sent, and the last one is the report."""
        up, ledger = self._ledger.up, self._ledger
        done = None if up is None else up.computed(event)
        if done is None:
            self._do(Forget(superseded(self._parent, event, event.task in ledger.outbox.reports)))
            return
        record, unneeded = done
        self._computing = False
        self._log(record)
        self._post()
        self._do(Forget(unneeded))

    def broken_off(self) -> None:
        """The parent goes on without this node."""
        up, outbox = self._ledger.up, self._ledger.outbox
        assert up is not None
        unneeded = (*up.used(), *outbox.held(up.task))
        self._log(records.Confirmed(up.task, accepted=False))
        self._do(Count("dropped", self._name, "it was out of its parent's exchange before it had reported"))
        self._do(Forget(unneeded))

    def _compute(self, received: Key | None) -> None:
        assert self._ledger.up is not None
        self._computing = True
        self._do(self._ledger.up.compute(received))
