"""The virtual clock: carries the nodes' effects out on modelled devices and links.

The nodes are the ones that run on real networks. What differs is the driver: time is a number, a message takes
as long as the profile of its link says, and training takes its modelled time but is really computed, when its
result is needed.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fogline.nodes import Device
from fogline.nodes.effects import (
    Adopt,
    ChildStep,
    Combine,
    Count,
    Finished,
    Forget,
    GroupUpdate,
    Merge,
    Move,
    ParentStep,
    Send,
    SetTimer,
    Train,
    Write,
)
from fogline.nodes.events import Event, Halt, Received, Scored, Started, TimerFired, Trained
from fogline.nodes.ledger import AcceptedUpdate, Ledger, in_order
from fogline.nodes.messages import Hello, Message, Receipt, Report, Step, Work, update_key
from fogline.simulation.begun_training import BegunTraining
from fogline.simulation.collecting import rarely_collected
from fogline.simulation.exchanging import ExchangeValues
from fogline.simulation.fleet.counters import Traffic
from fogline.simulation.fleet.delivery import Delivery
from fogline.simulation.fleet.scenario import Scenario
from fogline.simulation.fleet.seats import Seat, seats_of
from fogline.simulation.numbers import Numbers
from fogline.simulation.values import LazyValue, LazyValues, Training


class Simulator:
    """One run on the virtual clock.

    Args:
        scenario: who does what, and how long it takes.
        numbers: the values behind the keys.
        store: computes them.
        moved: told of every move of the root, with the value of its group.
    """

    def __init__(
        self, scenario: Scenario, numbers: Numbers, store: LazyValues, moved: Callable[[Move, LazyValue], None]
    ) -> None:
        fleet, sizes = scenario.fleet, scenario.sizes
        self.now = 0.0
        self.traffic = Traffic(frozen=sizes.frozen)
        self.root = scenario.root
        self.numbers = numbers
        self.store = store
        self.attempts: dict[int, int] = {}
        self.losses: dict[str, tuple[float | None, str | None]] = {}
        """Of devices that failed, and for policies that select by loss: what each report said. A resumed run repeats
        its past from it."""
        self.scores: dict[str, list[tuple[str, float]]] = {}
        """How much rules have used of each child's update, where there is a quarantine, by the model that came of it. A
        resumed run repeats its past from it too."""
        self._clients, self._homes = scenario.clients, scenario.homes
        self._index = {name: i for i, name in enumerate(scenario.clients)}
        self._aggregators = dict(scenario.aggregators)
        self._fleet = fleet
        self._joules_per_byte, self._watts = fleet.joules_per_byte, fleet.watts
        self._down_seconds, self._up_seconds = fleet.down_seconds, fleet.up_seconds
        self._links, self._plan, self._cost = scenario.links, scenario.plan, scenario.cost
        self._sizes = sizes
        self._updates = {tier: sizes.of(tier, sizes.update).up for tier in scenario.tiers.values()}
        """Bytes of a device's update, by the tier above it."""
        self._portions, self._parts = sizes.portions, sizes.parts
        downs = [sizes.of(t, 0).down for t in scenario.tiers.values()] + [p.down for p in sizes.portions.values()]
        self._receipts_first = sizes.control <= min(downs)
        """Whether a receipt is there before the request that is sent after it."""
        self._moved = moved
        self._prefetch = scenario.prefetch
        self._eager = frozenset(scenario.eager)
        self.steps = scenario.steps
        self._begun = BegunTraining(scenario.homes, sizes.update)
        self._listed = scenario.prefetch or bool(scenario.eager)
        """Whether somebody asks for training that is under way."""
        self._seats = seats_of(scenario)
        self._queue: list[tuple[float, int, Seat, Event]] = []
        self._serial = 0
        self._timers: dict[tuple[str, str], int] = {}
        self._handed: set[str] = set()
        """Updates that went up and that their sender has still to forget: all nodes share one store here, and a child's
        copy is its parent's."""
        self._merging = [node for node in scenario.aggregators.values() if not node.role.moves]
        self._under_way: Counter[str] = Counter()
        """Requests that have not arrived, by the model that travels with them."""
        self._kept: list[str] = []
        """Models that their node has forgotten, and others have not."""
        differs = any(between.difference for between in sizes.staged.values())
        self._delivery = Delivery(sizes, self.traffic, scenario.links) if differs or sizes.frozen else None
        """Where not all of a model goes with every request, or more than that."""
        self._halted = False
        self.began: Callable[[int], None] | None = None
        """Told of each device, by its number, that begins to train."""
        # Typed loosely: every method takes the effect that it is listed for. ``Write`` is not among them: nothing
        # crashes here, and the fault tests keep journals.
        self._carry_out: dict[type[Any], Callable[[Seat, Any], None]] = {
            Send: self._send,
            SetTimer: self._set_timer,
            Train: self._train,
            Adopt: lambda _, effect: numbers.adopt(effect),
            Move: self._move,
            Merge: lambda seat, effect: numbers.merge(seat.name, effect),
            ChildStep: self._child_step,
            ParentStep: self._parent_step,
            Combine: lambda seat, effect: self._exchange.combine(
                seat.tier, effect, numbers.updates, store.replaying, self.refused
            ),
            GroupUpdate: lambda seat, effect: numbers.group_update(seat.name, effect),
            Forget: self._forget,
            Count: lambda _, effect: self.traffic.mishaps.count(effect.what, effect.child or "", effect.why or ""),
            Finished: self._finished,
        }

    def join(self, parents: Mapping[str, str | None], hello: Callable[[int], Hello]) -> None:
        """Every child presents itself to its parent; then every aggregator starts, the root last."""
        for client, home in enumerate(self._homes):
            self._aggregators[home].roster.add(self._clients[client], hello(client))
        upward = list(reversed(self._aggregators))
        below = {name: self._aggregators[name].roster.devices() for name in upward}
        for name in upward:
            parent = parents[name]
            if parent is not None:
                below[parent] += below[name]
        for name, parent in parents.items():
            if parent is not None:
                self._aggregators[parent].roster.add(name, Hello(devices=below[name]))
        for name in upward:
            self._handle(self._seats[name], Started())

    def run(self) -> None:
        """Until the root is done, or nothing happens any more."""
        with rarely_collected():
            self._run()

    def _run(self) -> None:
        queue, timers, carry_out = self._queue, self._timers, self._carry_out
        pop, eager, send = heapq.heappop, self._eager, self._send
        while queue and not self._halted:
            time, serial, seat, event = pop(queue)
            model = ""
            if type(event) is Received:
                if type(event.message) is Work:
                    seat.asked -= 1
                    model = event.message.model
            elif type(event) is TimerFired:
                if timers.get((seat.name, event.timer)) != serial:
                    continue  # The timer was set anew.
            elif eager and type(event) is Trained:
                event = self._with_result(seat, event)
            self.now = time
            node = seat.node
            for effect in node.handle(event, time):  # As in `_handle`, without a call for each event.
                if type(effect) is Send:
                    send(seat, effect)
                elif type(effect) is not Write:
                    carry_out[type(effect)](seat, effect)
            if model:
                self._arrived(model)
            if type(node) is Device and node.model is None and not node.outbox.reports and not seat.asked:
                self._leave(seat)

    def halt(self) -> None:
        """End the job, as an operator would."""
        self._handle(self._seats[self.root], Halt())

    def ledger_of(self, aggregator: str) -> Ledger:
        """What an aggregator must not forget; it is only looked at."""
        return self._aggregators[aggregator].ledger

    @property
    def rounds_lost(self) -> int:
        """Rounds of the root that came to nothing."""
        return self._aggregators[self.root].ledger.rounds_lost

    def refused(self, child: str, why: str) -> None:
        """An update could not be folded."""
        self.traffic.mishaps.count("refused", child, why)

    def failed(self, node: str, accepted: Sequence[AcceptedUpdate]) -> dict[int, str]:
        """Which of the updates that wait at an aggregator are none, by task, and why: those of its devices are
        computed now, and folded as they come."""
        if node in self._eager:
            return self._left_out(node, accepted)
        updates = self.numbers.updates
        new = [(one, update) for one in accepted if isinstance(update := updates[one.update], Training)]
        if not new:
            return {}
        whys: dict[int, str] = {}
        made = self.numbers.gather(node, [one for one, _ in new], lambda one, why: whys.__setitem__(one.task, why))
        ahead = [] if all(training.done for _, training in new) else self._ahead(node)
        self.store.force([*made, *ahead])
        replaying = self.store.replaying
        for one, training in new:
            if replaying:
                _, why = self.losses.get(one.update, (None, None))
            else:
                why = training.failure or whys.get(one.task)
            if why is not None:
                whys[one.task] = why
                self.losses[one.update] = (None, why)
        return whys

    def unfit(self, node: str, accepted: Sequence[AcceptedUpdate]) -> dict[int, str]:
        """Which of the reports that wait at an aggregator cannot be folded together, by task, and why: of aggregators
        below, or of devices that have trained."""
        ordered = in_order(accepted)
        if not self.store.replaying:
            self.store.force([self.numbers.updates[one.update] for one in ordered])
        ledger = self._aggregators[node].ledger
        self.numbers.forge(node, ledger.model, ordered, self.store.replaying)
        if not self.store.replaying:
            whys = self.numbers.unfit(node, ledger.members(ordered))
            self.losses.update({ordered[place].update: (None, why) for place, why in whys.items()})
        return self._whys(accepted)

    def _whys(self, accepted: Sequence[AcceptedUpdate]) -> dict[int, str]:
        whys = {one.task: self.losses[one.update][1] for one in accepted if one.update in self.losses}
        return {task: why for task, why in whys.items() if why is not None}

    def _left_out(self, node: str, accepted: Sequence[AcceptedUpdate]) -> dict[int, str]:
        """Where devices have trained: those whose updates do not fit together, or, in an exchange, whom its last step
        would leave out."""
        combine = self._aggregators[node].combines(accepted)
        if combine is None:
            return {} if self._aggregators[node].role.steps else self.unfit(node, accepted)
        if not self.store.replaying:
            tier = self._seats[node].tier
            for child, why in self._exchange.failed(tier, combine, self.numbers.updates).items():
                self.losses.update({member.update: (None, why) for member in combine.members if member.child == child})
        return self._whys(accepted)

    @property
    def _exchange(self) -> ExchangeValues:
        assert self.steps is not None
        return self.steps

    def _child_step(self, seat: Seat, effect: ChildStep) -> None:
        assert seat.parent is not None
        updates, replaying = self.numbers.updates, self.store.replaying
        if not replaying:  # What an aggregator has merged is only noted so far.
            self.store.force([updates[effect.state]])
        event = self._exchange.child(seat.parent.tier, effect, updates, replaying)
        self._push(self.now, seat, event)

    def _parent_step(self, seat: Seat, effect: ParentStep) -> None:
        event = self._exchange.parent(seat.tier, effect, self.numbers.updates, self.store.replaying)
        self._push(self.now, seat, event)

    def _ahead(self, node: str) -> list[Training]:
        """Training that will be needed soon: of devices below other aggregators, or async ones."""
        return self._begun.take(but=None if self._aggregators[node].role.mode == "async" else node)

    def _handle(self, seat: Seat, event: Event) -> None:
        """An event that no time passed for, at an aggregator."""
        for effect in seat.node.handle(event, self.now):
            if type(effect) is not Write:
                self._carry_out[type(effect)](seat, effect)

    def _move(self, seat: Seat, effect: Move) -> None:
        group, folded = self.numbers.move(seat.name, effect)
        if self._aggregators[seat.name].role.tier.quarantine is not None:
            self._handle(seat, Scored(self._scores_of(effect, folded)))
        if seat.name == self.root:
            self._moved(effect, group)

    def _scores_of(self, effect: Move, folded: LazyValue) -> tuple[tuple[str, float], ...]:
        """How much the rule has used of each child's update."""
        if not self.store.replaying:
            self.store.force([folded])
            self.scores[effect.model] = self.numbers.scores(folded)
        return tuple((child, score) for child, score in self.scores.get(effect.model, ()))

    def force(self, value: LazyValue) -> None:
        """Compute a value; where it pays, training that is under way joins the cohort."""
        extra = self.numbers.in_flight() if self._prefetch else []
        self.store.force([value, *extra])

    def _with_result(self, seat: Seat, event: Trained) -> Trained:
        """The event with what the device says of its training."""
        home = self._homes[seat.client]
        training = self.numbers.updates.get(event.update)
        if home not in self._eager or not isinstance(training, Training):
            return event
        if not training.done:
            self.store.force([training, *self.numbers.in_flight()])
        if not self.store.replaying:
            self.losses[event.update] = (training.loss_rms, training.failure)
        loss_rms, failure = self.losses[event.update]
        if failure is not None:
            del self.numbers.updates[event.update]
        return msgspec.structs.replace(event, loss_rms=loss_rms, failure=failure)

    def _seat(self, name: str, parent: Seat) -> Seat:
        """The seat of a device that begins to work."""
        portion = self._portions.get(client := self._index[name])
        report = self._updates[parent.tier] if portion is None else portion.up
        self._seats[name] = seat = Seat(name, Device(name, parent.name), client, report, parent)
        return seat

    def _leave(self, seat: Seat) -> None:
        """A device is through with its work, or dropped out."""
        if self._seats.get(seat.name) is not seat:
            return
        if seat.asked:  # The next request finds it as one that knows of no work.
            seat.node = Device(seat.name, self._homes[seat.client])
        else:
            del self._seats[seat.name]

    def _push(self, at: float, seat: Seat, event: Event) -> int:
        self._serial = serial = self._serial + 1
        heapq.heappush(self._queue, (at, serial, seat, event))
        return serial

    def _finished(self, seat: Seat, _: Finished) -> None:
        if seat.name == self.root:
            self._halted = True

    def _set_timer(self, seat: Seat, effect: SetTimer) -> None:
        self._timers[seat.name, effect.timer] = self._push(effect.at, seat, TimerFired(effect.timer))

    def _send(self, seat: Seat, effect: Send) -> None:
        message = effect.message
        if type(message) is Report:
            self._send_up(seat, message)
        elif type(message) is Work:
            self._ask(seat, effect.to, message)
        elif type(message) is Receipt:
            self._acknowledge(seat, effect.to, message)
        elif type(message) is Step:
            self._send_step(seat, effect.to, message)
        else:
            name = effect.to
            self._send_down(seat, self._seats.get(name) or self._seat(name, seat), message, self._sizes.control)

    def _send_step(self, seat: Seat, name: str, step: Step) -> None:
        size = self._exchange.sizes.pop(step.value)  # Nothing is lost here, so it is sent once.
        if seat.parent is not None and name == seat.parent.name:
            self._carry_up(seat, step, size)
        else:
            self._send_down(seat, self._seats.get(name) or self._seat(name, seat), step, size)

    def _ask(self, seat: Seat, name: str, work: Work) -> None:
        to, model, under_way = self._seats.get(name) or self._seat(name, seat), work.model, self._under_way
        to.asked += 1
        under_way[model] = under_way.get(model, 0) + 1
        down = portion.down if (portion := self._portions.get(to.client)) else seat.down
        if self._delivery is None:
            self._send_down(seat, to, work, down)
            return
        load = self._delivery.load(seat, to, model, down, self.now)
        self._delivery.arrives(to, self._send_down(seat, to, work, load.size, load.begins, load.earliest))

    def _acknowledge(self, seat: Seat, name: str, receipt: Receipt) -> None:
        """A device that is through, or that only waits for its receipt, is not told: what comes of it is known."""
        to, task, size = self._seats.get(name), receipt.task, self._sizes.control
        if to is not None:
            node = to.node
            if not self._settles(to, task):
                if type(node) is Device and task in node.outbox.reports:
                    self._handed.add(update_key(seat.name, task))
                self._send_down(seat, to, receipt, size)
                return
            del self._seats[name]
        traffic = self.traffic
        traffic.down[seat.tier] += size
        traffic.joules += size * self._joules_per_byte[self._index[name] if to is None else to.client]

    def _settles(self, seat: Seat, task: int) -> bool:
        """Whether a device does nothing but wait for that receipt, and gets it before the next request: then it is
        through."""
        node = seat.node
        return (
            type(node) is Device
            and node.model is None
            and not seat.asked
            and len(node.outbox.reports) == 1
            and task in node.outbox.reports
            and self._receipts_first
        )

    def _send_down(
        self, seat: Seat, to: Seat, message: Message, size: int, begins: float = 0.0, earliest: float = 0.0
    ) -> float:
        """When it is there, which is not before ``earliest``; it ``begins`` now, or later."""
        traffic, client = self.traffic, to.client
        now = self.now if self.now > begins else begins
        traffic.down[seat.tier] += size
        if client < 0:
            seconds = self._links.seconds(size, False)
        else:
            traffic.joules += size * self._joules_per_byte[client]
            seconds = self._down_seconds(client, size, now)
        at = now + seconds
        if at < earliest:
            at = earliest
        self._serial = serial = self._serial + 1
        heapq.heappush(self._queue, (at, serial, to, Received(seat.name, message)))
        return at

    def _send_up(self, seat: Seat, report: Report) -> None:
        client = seat.client
        if report.update is None:
            size = self._sizes.control
        else:
            size = seat.report if self.steps is None else self.steps.sizes.pop(report.update, seat.report)
            if client < 0:
                self._handed.add(report.update)
        self._carry_up(seat, report, size)

    def _carry_up(self, seat: Seat, message: Message, size: int) -> None:
        to, traffic, client = seat.parent, self.traffic, seat.client
        assert to is not None
        traffic.up[to.tier] += size
        if client < 0:
            seconds = self._links.seconds(size, True)
        else:
            traffic.joules += size * self._joules_per_byte[client]
            seconds = self._up_seconds(client, size, self.now)
        self._serial = serial = self._serial + 1
        heapq.heappush(self._queue, (self.now + seconds, serial, to, Received(seat.name, message)))

    def _forget(self, seat: Seat, effect: Forget) -> None:
        handed, keys = self._handed, effect.keys
        if not handed.isdisjoint(keys):
            owned = seat.owned
            gone = [key for key in keys if key not in handed or key.startswith(owned)]
            handed.difference_update(keys)
            keys = gone
        if keys:
            self.numbers.forget(self._unneeded(keys))

    def _arrived(self, model: str) -> None:
        left = self._under_way[model] - 1
        if left:
            self._under_way[model] = left
        else:
            del self._under_way[model]

    def _unneeded(self, keys: Sequence[str]) -> Sequence[str]:
        """Keys less the models that others have a copy of, on a real network: they are on their way to a child, or
        an aggregator hands them on to its children."""
        if self.numbers.models.keys().isdisjoint(keys):
            return keys
        handed_on = {node.ledger.model for node in self._merging if node.ledger.working}
        keys = [*self._kept, *keys]
        self._kept = [key for key in keys if key in handed_on or key in self._under_way]
        return [key for key in keys if key not in self._kept]

    def _train(self, seat: Seat, effect: Train) -> None:
        client, fleet, now, numbers = seat.client, self._fleet, self.now, self.numbers
        attempt = self.attempts[client] = self.attempts.get(client, -1) + 1
        plan = self._plan(client, effect.round, attempt, effect.effort)
        portion = self._portions.get(client)
        if self._parts and seat.parent is not None:  # It sends what it trains, which is another part each time.
            portion = self._parts[plan.share] if effect.effort < 1.0 else portion
            seat.report = self._updates[seat.parent.tier] if portion is None else portion.up
        cost = self._cost if portion is None else portion.cost
        seconds = fleet.train_seconds(client, plan.examples, cost)
        if fleet.loses:
            left = math.inf if fleet.always_available else fleet.next_away(client, now) - now
            self.traffic.joules += min(seconds, left) * self._watts[client]
            if left < seconds or fleet.drops_out(client, attempt):
                self.traffic.mishaps.count("went away" if left < seconds else "dropped out", seat.name)
                self._leave(seat)
                return
        else:
            self.traffic.joules += seconds * self._watts[client]
        if self.began is not None:
            self.began(client)
        training = Training(client, numbers.models[effect.model], plan)
        if self._listed:
            numbers.begin(effect.update, training)
        else:
            numbers.updates[effect.update] = training
        parent = seat.parent
        if parent is not None and parent.certain:
            self._begun.add(training)
        self._serial = serial = self._serial + 1
        arrival = Trained(effect.task, effect.update, plan.samples)
        heapq.heappush(self._queue, (now + seconds, serial, seat, arrival))
