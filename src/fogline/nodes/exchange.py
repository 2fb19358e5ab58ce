"""Steps between a request and its report: what device and aggregator keep of an exchange, and how it goes on.

The arithmetic is the runtime's (:mod:`fogline.exchanges` says what it computes). Here stands who has sent what. A
payload is in the journal before it is sent; it is sent until the parent answers; the answer to a step says that it was
taken. A child that is missing when a step's time is up is out for the rest of the request. What a child sends in the
last step is its report, so that receipts, deadlines and refusals are those of every other round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from fogline.nodes import records
from fogline.nodes.effects import ChildStep, Combine, Count, Effect, FoldInput, Forget, ParentStep, Send
from fogline.nodes.messages import Key, Step, reply_key, step_key, update_key

if TYPE_CHECKING:
    from fogline.nodes.events import StepComputed
    from fogline.nodes.ledger import AcceptedUpdate, Lane, Ledger
    from fogline.nodes.role import AggregatorRole  # Not imported: a device needs neither.


COMBINED = "/all"


def state_key(parent: str, task: int, number: int) -> Key:
    """Name of a child's state before that step of its exchange: before the first it is the trained update."""
    return f"{step_key(parent, task, number)}/own"


def round_key(parent: str, first: int, number: int) -> Key:
    """Name of the parent's state after that step of a round, whose requests are numbered from ``first``."""
    return f"{step_key(parent, first, number)}/all"


def combined_key(parent: str, first: int) -> Key:
    """Name of what the exchange of a round came to."""
    return f"{update_key(parent, first)}{COMBINED}"


def is_combined(key: Key) -> bool:
    """Whether an update is what the exchange of a round came to, and not one child's."""
    return key.endswith(COMBINED)


class ChildExchange(msgspec.Struct, gc=False):
    """What a device must not forget of the exchange that it is in."""

    name: str
    """The device's."""
    parent: str
    task: int
    steps: int
    samples: int
    loss_rms: float | None
    number: int = -1
    """The last step whose payload is stored; -1: none yet."""

    @property
    def is_last(self) -> bool:
        """Whether the step to be computed next is the last."""
        return self.number + 2 == self.steps

    def compute(self, received: Key | None) -> ChildStep:
        """The next step, with the parent's answer to the one before."""
        parent, task, number = self.parent, self.task, self.number + 1
        payload = update_key(parent, task) if self.is_last else step_key(parent, task, number)
        before, after = state_key(parent, task, number), state_key(parent, task, number + 1)
        return ChildStep(self.name, task, number, before, received, payload, after)

    def sends(self) -> Step:
        """What is sent until the parent answers."""
        return Step(self.task, self.number, step_key(self.parent, self.task, self.number))

    def keys(self) -> tuple[Key, ...]:
        """Values that are still needed: the state before the next step, and what is sent."""
        state = state_key(self.parent, self.task, self.number + 1)
        return (state,) if self.number < 0 else (state, step_key(self.parent, self.task, self.number))

    def used(self) -> tuple[Key, ...]:
        """Values that nobody needs once the next step is computed."""
        before = () if self.number < 0 else (reply_key(self.parent, self.task, self.number),)
        return (*self.keys(), *before)


class RoundExchange(msgspec.Struct, gc=False):
    """What an aggregator must not forget of the exchange of its round."""

    steps: int
    first: int = 0
    """First request of the round."""
    number: int = 0
    """The step that is being taken."""
    came: dict[int, None] = {}
    """Requests whose payload of that step is stored,"""
    answered: tuple[int, ...] = ()
    """and those that got an answer to the step before."""

    @property
    def goes_on(self) -> bool:
        """Whether a step before the last is being taken; the last one's payloads are reports."""
        return self.number < self.steps - 1

    def begin(self, first: int) -> None:
        """A round begins."""
        self.first, self.number, self.came, self.answered = first, 0, {}, ()

    def reported(self, accepted: Iterable[AcceptedUpdate]) -> list[AcceptedUpdate]:
        """Those that were reported in this round, in the order of their requests; others come from rounds before, and
        stand for what an exchange came to."""
        return sorted((one for one in accepted if one.task >= self.first), key=lambda one: one.task)

    def state(self, parent: str) -> Key | None:
        """The parent's state before the step that is being taken."""
        return round_key(parent, self.first, self.number - 1) if self.number else None

    def keys(self, parent: str) -> tuple[Key, ...]:
        """Values that are still needed."""
        state, number = self.state(parent), self.number
        payloads = [step_key(parent, task, number) for task in self.came]
        replies = [reply_key(parent, task, number - 1) for task in self.answered]
        return (*payloads, *replies) if state is None else (state, *payloads, *replies)


class ParentExchange:
    """An aggregator's part in the exchanges of its rounds.

    Args:
        role: of the aggregator.
        ledger: of the aggregator; all that must survive a crash is there.
        log: writes a record.
        do: takes an effect.
        acknowledge: gives a child a receipt.
        progress: looks whether the round may close.
        abandon: gives the round up.
        wait: sets the deadline of the step.
    """

    def __init__(
        self,
        role: AggregatorRole,
        ledger: Ledger,
        *,
        log: Callable[[records.Record], None],
        do: Callable[[Effect], None],
        acknowledge: Callable[[str, int, bool], None],
        progress: Callable[[int], None],
        abandon: Callable[[int, str], None],
        wait: Callable[[int], None],
    ) -> None:
        assert ledger.exchange is not None
        self._role, self._ledger, self._round = role, ledger, ledger.exchange
        self._log, self._do, self._acknowledge = log, do, acknowledge
        self._progress, self._abandon, self._wait = progress, abandon, wait
        self._computing = False
        self._began = 0.0

    @property
    def goes_on(self) -> bool:
        """Whether a step before the last is being taken."""
        return self._round.goes_on

    def begin(self, now: float) -> None:
        """The round begins, or goes on after a crash: its step has its whole time."""
        number = self._round.number
        self._computing, self._began = False, now - (self._share(number - 1) if number else 0.0)

    def deadline(self) -> float:
        """When the time of the step that is being taken is up. Half of the round's is for training and the first
        step, and the others share the rest."""
        return self._began + self._share(self._round.number)

    def _share(self, number: int) -> float:
        last = self._round.steps - 1
        return self._role.deadline * (0.5 + 0.5 * number / last if last else 1.0)

    def expects(self, child: str, step: Step) -> bool:
        """Whether a payload of that child may be stored."""
        ask = self._ledger.asks.get(step.task)
        now = self.goes_on and step.number == self._round.number and step.task not in self._round.came
        is_own = step.value == step_key(self._role.name, step.task, step.number)
        return now and is_own and ask is not None and ask.open and ask.child == child

    def take(self, child: str, step: Step) -> None:
        """A child sent its payload of a step."""
        ledger, name, task = self._ledger, self._role.name, step.task
        ask = ledger.asks.get(task)
        if ask is None or not ask.open:
            if 0 <= task < ledger.next_task:  # The round went on, or ended, without it.
                self._acknowledge(child, task, ledger.accepted(task))
        elif ask.child != child:
            self._do(Count("refused", child, f"it answered a request made to {ask.child}"))
        elif step.number == self._round.number - 1:  # The answer was lost.
            self._do(Send(child, Step(task, step.number, reply_key(name, task, step.number))))
        elif self.expects(child, step):
            self._log(records.StepTaken(task, step.number))
            self._progress(ask.lane)

    def go_on(self, lane: Lane, late: bool = False) -> None:
        """Take the step as the parent if all children that can come have come. ``late``: its time is up."""
        came, ledger = self._round.came, self._ledger
        if self._computing:
            return
        waits = len(came) < lane.need and len(came) < len(lane.asks)
        if waits and not late:
            # An upper bound first: this is asked with every payload.
            if len(came) < len(lane.asks) - lane.absent:
                return
            away = all(task in came or ledger.asks[task].absent for task in lane.asks)
            if not away or self._lacks(lane, len(came)):
                return
        why = self._lacks(lane, len(came))
        if why:
            self._abandon(lane.index, why)
            return
        self._computing = True
        name, number, first = self._role.name, self._round.number, self._round.first
        tasks = sorted(came)
        self._do(
            ParentStep(
                first,
                number,
                self._round.state(name),
                tuple((ledger.asks[task].child, step_key(name, task, number)) for task in tasks),
                tuple((ledger.asks[task].child, reply_key(name, task, number)) for task in tasks),
                round_key(name, first, number),
            )
        )

    def computed(self, lane: Lane, event: StepComputed, now: float) -> None:
        """The parent's half of the step was carried out."""
        done = self._round
        if not (lane.open and self._ledger.working) or (event.task, event.number) != (done.first, done.number):
            self._do(Forget((*event.replies, round_key(self._role.name, event.task, event.number))))
            return  # Its round is over.
        self._computing = False
        made, ledger, name = set(event.replies), self._ledger, self._role.name
        children = {task: ledger.asks[task].child for task in lane.asks}
        gone = tuple(task for task in children if reply_key(name, task, done.number) not in made)
        why = event.failure or self._lacks(lane, len(children) - len(gone))
        if why:
            self._abandon(lane.index, why)
            return
        unneeded = done.keys(name)
        self._log(records.Advanced(done.number, gone, now))
        self._do(Forget(unneeded))
        for task, child in children.items():
            if task in gone:
                self._do(Count("missing", child, f"it was not there in step {event.number + 1} of an exchange"))
                self._acknowledge(child, task, False)
            else:
                self._do(Send(child, Step(task, event.number, reply_key(name, task, event.number))))
        self._wait(lane.index)
        self._progress(lane.index)

    def combine(self, accepted: Iterable[AcceptedUpdate]) -> Combine | None:
        """The last step, on what children reported; None where nothing was reported in this round."""
        name = self._role.name
        members = tuple(FoldInput(one.update, 0, one.child) for one in self._round.reported(accepted))
        return Combine(self._round.state(name), members, combined_key(name, self._round.first)) if members else None

    def over(self) -> tuple[Key, ...]:
        """Values that nobody needs when the round is over."""
        return self._round.keys(self._role.name)

    def give_up(self, lane: Lane) -> None:
        """The round fails, whole: what was reported in it is of no use in another one."""
        for task in lane.asks:
            self._acknowledge(self._ledger.asks[task].child, task, False)
        accepted = self._round.reported(lane.pending)
        if accepted:
            self._log(records.Spoiled(lane.index, tuple(one.task for one in accepted)))
            for one in accepted:
                self._do(Count("unfinished", one.child, "the exchange of its round came to no end"))
        unneeded = (*self.over(), *(one.update for one in accepted))
        if unneeded:
            self._do(Forget(unneeded))

    def _lacks(self, lane: Lane, here: int) -> str:
        """What a step lacks for the round to go on with so many children."""
        step = f"{here} children took step {self._round.number + 1} of the exchange"
        if here < lane.quorum:
            return f"{step}, the quorum is {lane.quorum}"
        return f"{step}, the job's minimum is {self._role.minimum}" if here < self._role.minimum else ""
