"""An aggregator's part in the exchanges of its rounds: when a step is over, and who is out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fogline.nodes import records
from fogline.nodes.effects import Combine, Count, Effect, FoldInput, Forget, ParentStep, Send
from fogline.nodes.events import StepComputed
from fogline.nodes.exchange import RoundExchange, combined_key, round_key
from fogline.nodes.ledger import AcceptedUpdate, Lane, Ledger
from fogline.nodes.messages import Key, Receipt, Step, reply_key, step_key
from fogline.nodes.role import AggregatorRole


class ParentExchange:
    """An aggregator's part in the exchanges of its rounds.

    Args:
        role: of the aggregator.
        ledger: of the aggregator; all that must survive a crash is there, for each lane.
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
        self._role, self._ledger = role, ledger
        self._log, self._do, self._acknowledge = log, do, acknowledge
        self._progress, self._abandon, self._wait = progress, abandon, wait
        self._computing = set[int]()
        """Lanes in which the parent's half is being carried out."""
        self._began: dict[int, float] = {}

    def goes_on(self, lane: Lane) -> bool:
        """Whether a step before the last is being taken."""
        return self._round(lane.index).goes_on

    def begin(self, index: int, now: float) -> None:
        """A lane's round begins, or goes on after a crash: its step has its whole time."""
        number = self._round(index).number
        self._computing.discard(index)
        self._began[index] = now - (self._share(number - 1) if number else 0.0)

    def deadline(self, index: int) -> float:
        """When the time of the step that a lane is taking is up. Half of the round's is for training and the first
        step, and the others share the rest."""
        return self._began[index] + self._share(self._round(index).number)

    def _round(self, index: int) -> RoundExchange:
        return self._ledger.exchanges[index]

    def _share(self, number: int) -> float:
        last = self._role.steps - 1
        return self._role.deadline * (0.5 + 0.5 * number / last if last else 1.0)

    def expects(self, child: str, step: Step) -> bool:
        """Whether a payload of that child may be stored."""
        ask = self._ledger.asks.get(step.task)
        if ask is None or not ask.open or ask.child != child:
            return False
        done = self._round(ask.lane)
        now = done.goes_on and step.number == done.number and step.task not in done.came
        return now and step.value == step_key(self._role.name, step.task, step.number)

    def take(self, child: str, step: Step) -> None:
        """A child sent its payload of a step."""
        ledger, name, task = self._ledger, self._role.name, step.task
        ask = ledger.asks.get(task)
        if ask is None or not ask.open:
            if 0 <= task < ledger.next_task:  # The round went on, or ended, without it.
                self._acknowledge(child, task, ledger.accepted(task))
        elif ask.child != child:
            self._do(Count("refused", child, f"it answered a request made to {ask.child}"))
        elif not ledger.has_steps:
            self._do(Count("refused", child, "it took a step, and the request has none"))
        elif step.number == self._round(ask.lane).number - 1:  # The answer was lost.
            self._do(Send(child, Step(task, step.number, reply_key(name, task, step.number))))
        elif self.expects(child, step):
            self._log(records.StepTaken(task, step.number))
            self._progress(ask.lane)

    def go_on(self, lane: Lane, late: bool = False) -> None:
        """Take the step as the parent if all children that can come have come. ``late``: its time is up."""
        done, ledger = self._round(lane.index), self._ledger
        came = done.came
        if lane.index in self._computing:
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
        self._computing.add(lane.index)
        name, number, first = self._role.name, done.number, done.first
        tasks = sorted(came)
        self._do(
            ParentStep(
                first,
                number,
                done.state(name),
                tuple((ledger.asks[task].child, step_key(name, task, number)) for task in tasks),
                tuple((ledger.asks[task].child, reply_key(name, task, number)) for task in tasks),
                round_key(name, first, number),
            )
        )

    def computed(self, event: StepComputed, now: float) -> None:
        """The parent's half of the step was carried out."""
        ledger, name = self._ledger, self._role.name
        open_lanes = (lane for lane in ledger.lanes if lane.open and ledger.working)
        lane = next((lane for lane in open_lanes if self._round(lane.index).first == event.task), None)
        if lane is None or event.number != self._round(lane.index).number:
            self._do(Forget((*event.replies, round_key(name, event.task, event.number))))
            return  # Its round is over.
        done = self._round(lane.index)
        self._computing.discard(lane.index)
        made = set(event.replies)
        children = {task: ledger.asks[task].child for task in lane.asks}
        gone = tuple(task for task in children if reply_key(name, task, done.number) not in made)
        why = event.failure or self._lacks(lane, len(children) - len(gone))
        if why:
            self._abandon(lane.index, why)
            return
        unneeded = done.keys(name)
        self._log(records.Advanced(done.number, gone, now, lane.index))
        self._do(Forget(unneeded))
        for task, child in children.items():
            if task in gone:
                self._do(Count("missing", child, f"it was not there in step {event.number + 1} of an exchange"))
                self._acknowledge(child, task, False)
            else:
                self._do(Send(child, Step(task, event.number, reply_key(name, task, event.number))))
        self._wait(lane.index)
        self._progress(lane.index)

    def combine(self, accepted: Sequence[AcceptedUpdate]) -> Combine | None:
        """The last step, on what children reported in a lane; None where nothing was reported in this round."""
        name = self._role.name
        members = tuple(FoldInput(one.update, 0, one.child) for one in self._ledger.reported(accepted))
        if not members:
            return None
        done = self._round(accepted[0].lane)
        return Combine(done.state(name), members, combined_key(name, done.first))

    def over(self, lane: Lane) -> tuple[Key, ...]:
        """Values that nobody needs when the round is over."""
        return self._round(lane.index).keys(self._role.name)

    def give_up(self, lane: Lane) -> list[Effect]:
        """The round fails, whole: what was reported in it is of no use in another one. What is to be done once the
        journal says so."""
        then: list[Effect] = [Send(self._ledger.asks[task].child, Receipt(task, accepted=False)) for task in lane.asks]
        accepted = self._ledger.reported(lane.pending)
        if accepted:
            self._log(records.Spoiled(lane.index, tuple(one.task for one in accepted)))
            for one in accepted:
                self._do(Count("unfinished", one.child, "the exchange of its round came to no end"))
        unneeded = (*self.over(lane), *(one.update for one in accepted))
        return [*then, Forget(unneeded)] if unneeded else then

    def give_up_open(self, now: float) -> None:
        """The node answers its parent: where other lanes have open rounds, these come to no end."""
        for lane in self._ledger.lanes:
            if lane.open:
                then = self.give_up(lane)
                self._log(records.Closed(lane.index, met=False, final=False, keep_since=math.inf, at=now))
                for effect in then:
                    self._do(effect)

    def _lacks(self, lane: Lane, here: int) -> str:
        """What a step lacks for the round to go on with so many children."""
        step = f"{here} children took step {self._round(lane.index).number + 1} of the exchange"
        if here < lane.quorum:
            return f"{step}, the quorum is {lane.quorum}"
        # Aggregators say with their reports which devices are behind them, and it is then that these are counted.
        minimum = 1 if self._role.marks else self._role.minimum
        return f"{step}, the job's minimum is {minimum}" if here < minimum else ""
