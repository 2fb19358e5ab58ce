"""The virtual clock: carries the nodes' effects out on modelled devices and links.

The nodes are the ones that run on real networks. What differs is the driver: time is a number, a message takes
as long as the profile of its link says, and training takes its modelled time but is really computed, when its
result is needed.
"""

from __future__ import annotations

import gc
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fogline.jobs.planning import Planner
from fogline.nodes import Aggregator, Device
from fogline.nodes.effects import (
    Adopt,
    Count,
    Finished,
    Forget,
    Lift,
    Merge,
    Move,
    Send,
    SetTimer,
    Train,
    Write,
)
from fogline.nodes.events import Event, Fired, Halt, Received, Started, Trained
from fogline.nodes.ledger import Got
from fogline.nodes.messages import Hello, Report, Work
from fogline.simulation.numbers import Numbers
from fogline.simulation.profiles import Fleet, Link
from fogline.simulation.traffic import Traffic
from fogline.simulation.values import Store, Training, Value

COLLECT_EVERY = 100_000
"""New objects between two looks of the garbage collector, which finds next to nothing: hardly any object of a run is
part of a cycle."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of what travels."""

    down: int
    """A model with the algorithm's vectors."""
    update: int
    """A device's update, or an aggregator's after rounds of its own."""
    partial: int
    """A merged partial result."""
    control: int = 128
    """Any other message."""


AHEAD = 256 << 20
"""Bytes of updates of other aggregators' devices that are computed beforehand, so that a cohort is large."""


class Simulator:
    """One run on the virtual clock.

    Args:
        root: name of the root aggregator.
        aggregators: all aggregators by name.
        tiers: the tier of every aggregator.
        clients: names of the devices, by client.
        homes: the aggregator above each device, by client.
        fleet: the devices' and their links' profiles.
        links: the link between an aggregator and its parent.
        numbers: the values behind the keys.
        store: computes them.
        plan: how much a device trains.
        sizes: bytes of what travels.
        cost: MFLOP to train on one example.
        moved: told of every move of the root, with the value of its group.
        prefetch: whether training in flight joins a cohort that has to be computed anyway (async tiers).
        eager: aggregators whose devices' trainings must be computed when they report, and not when a round may close:
            async ones, which ask others in the place of those that succeeded,
        wants_loss: and those whose policies select by loss.
    """

    def __init__(
        self,
        *,
        root: str,
        aggregators: Mapping[str, Aggregator],
        tiers: Mapping[str, str],
        clients: list[str],
        homes: list[str],
        fleet: Fleet,
        links: Link,
        numbers: Numbers,
        store: Store,
        plan: Planner,
        sizes: Sizes,
        cost: float,
        moved: Callable[[Move, Value], None],
        prefetch: bool = False,
        eager: Collection[str] = (),
        wants_loss: Collection[str] = (),
    ) -> None:
        self.now = 0.0
        self.traffic = Traffic()
        self.root = root
        self.numbers = numbers
        self.store = store
        self.attempts: dict[int, int] = {}
        self.losses: dict[str, tuple[float | None, str | None]] = {}
        """Of devices that failed, and for policies that select by loss: what each report said. A resumed run repeats
        its past from it."""
        self._aggregators = dict(aggregators)
        self._tiers = tiers
        self._clients = clients
        self._homes = homes
        self._index = {name: i for i, name in enumerate(clients)}
        self._devices: dict[str, Device] = {}
        self._fleet = fleet
        self._links = links
        self._plan = plan
        self._sizes = sizes
        self._cost = cost
        self._moved = moved
        self._prefetch = prefetch
        self._eager, self._wants_loss = frozenset([*eager, *wants_loss]), frozenset(wants_loss)
        self._begun: list[Training] | None = [] if len(set(homes)) > 1 else None
        """Training that was begun since some was computed last, below any aggregator."""
        self._queue: list[tuple[float, int, str, Event]] = []
        self._serial = 0
        self._timers: dict[tuple[str, str], int] = {}
        self._handed: set[str] = set()
        """Updates that went up: all nodes share one store here, and a child's copy is its parent's."""
        self._merging = [node for node in aggregators.values() if not node.role.moves]
        self._under_way: Counter[str] = Counter()
        """Requests that have not arrived, by the model that travels with them."""
        self._kept: list[str] = []
        """Models that their node has forgotten, and others have not."""
        self._halted = False
        # Typed loosely: every method takes the effect that it is listed for.
        self._carry_out: dict[type[Any], Callable[[str, Any], None]] = {
            Send: self._send,
            SetTimer: self._set_timer,
            Train: self._train,
            Adopt: lambda _, effect: numbers.adopt(effect),
            Move: self._move,
            Merge: lambda _, effect: numbers.merge(effect),
            Lift: lambda _, effect: numbers.lift(effect),
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
            self._handle(name, Started())

    def run(self) -> None:
        """Until the root is done, or nothing happens any more."""
        gc.collect()
        gc.freeze()  # What is there now stays; the collector need not look at a million devices again and again.
        thresholds = gc.get_threshold()
        gc.set_threshold(COLLECT_EVERY, *thresholds[1:])
        try:
            self._run()
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def _run(self) -> None:
        queue, timers = self._queue, self._timers
        while queue and not self._halted:
            time, serial, node, event = heapq.heappop(queue)
            if type(event) is Fired and timers.get((node, event.timer)) != serial:
                continue  # The timer was set anew.
            self.now = time
            if self._eager and type(event) is Trained:
                event = self._with_result(node, event)
            self._handle(node, event)
            if type(event) is Received and type(event.message) is Work:
                self._arrived(event.message.model)

    def halt(self) -> None:
        """End the job, as an operator would."""
        self._handle(self.root, Halt())

    def refused(self, child: str, why: str) -> None:
        """An update could not be folded."""
        self.traffic.mishaps.count("refused", child, why)

    def failed(self, node: str, gots: Sequence[Got]) -> dict[int, str]:
        """Which of the updates that wait at an aggregator are none, by task, and why: those of its devices are
        computed now, and folded as they come."""
        updates = self.numbers.updates
        new = {got: update for got in gots if isinstance(update := updates[got.update], Training)}
        if not new or node in self._eager:
            return {}
        whys: dict[Got, str] = {}
        made = self.numbers.gather(list(new), whys.__setitem__)
        ahead = self._ahead() if any(not training.done for training in new.values()) else []
        self.store.force([*made, *ahead])
        for got, training in new.items():
            if self.store.replaying:
                _, why = self.losses.get(got.update, (None, None))
            else:
                why = training.failure or whys.get(got)
            if why is not None:
                whys[got] = why
                self.losses[got.update] = (None, why)
        return {got.task: why for got, why in whys.items()}

    def _ahead(self) -> list[Training]:
        """Training of devices below other aggregators that will be needed soon."""
        if self._begun is None:
            return []
        ready = [one for one in self._begun if not one.done and one.model is not None and one.model.done]
        chosen = ready[: max(1, AHEAD // self._sizes.update)]
        self._begun = [one for one in self._begun if not one.done] if len(chosen) < len(ready) else []
        return chosen

    def _handle(self, name: str, event: Event) -> None:
        node = self._aggregators.get(name) or self._device(name)
        for effect in node.handle(event, self.now):
            kind = type(effect)
            if kind is not Write:  # Nothing crashes here; the fault tests keep journals.
                self._carry_out[kind](name, effect)
        if isinstance(node, Device) and node.idle:
            self._devices.pop(name, None)

    def _move(self, node: str, effect: Move) -> None:
        group = self.numbers.move(node, effect)
        if node == self.root:
            self._moved(effect, group)

    def force(self, value: Value) -> None:
        """Compute a value; where it pays, training that is under way joins the cohort."""
        extra = self.numbers.in_flight() if self._prefetch else []
        self.store.force([value, *extra])

    def _with_result(self, node: str, event: Trained) -> Trained:
        """The event with what the device says of its training."""
        home = self._homes[self._index[node]]
        training = self.numbers.updates.get(event.update)
        if home not in self._eager or not isinstance(training, Training):
            return event
        if not training.done:
            self.store.force([training, *self.numbers.in_flight()])
        if not self.store.replaying and (training.failure is not None or home in self._wants_loss):
            self.losses[event.update] = (training.loss_rms, training.failure)
        loss_rms, failure = self.losses.get(event.update, (None, None))
        if failure is not None:
            del self.numbers.updates[event.update]
        elif loss_rms is None:
            return event
        return msgspec.structs.replace(event, loss_rms=loss_rms, failure=failure)

    def _device(self, name: str) -> Device:
        device = self._devices.get(name)
        if device is None:
            device = self._devices[name] = Device(name, self._homes[self._index[name]])
        return device

    def _push(self, at: float, node: str, event: Event) -> int:
        self._serial += 1
        heapq.heappush(self._queue, (at, self._serial, node, event))
        return self._serial

    def _finished(self, node: str, _: Finished) -> None:
        if node == self.root:
            self._halted = True

    def _set_timer(self, node: str, effect: SetTimer) -> None:
        self._timers[node, effect.timer] = self._push(effect.at, node, Fired(effect.timer))

    def _send(self, node: str, effect: Send) -> None:
        message, to = effect.message, effect.to
        if isinstance(message, Work):
            size = self._sizes.down
            self._under_way[message.model] += 1
        elif isinstance(message, Report) and message.update is not None:
            size = self._report_size(node)
            self._handed.add(message.update)
        else:
            size = self._sizes.control
        upward = isinstance(message, Report)
        tier = self._tiers[to if upward else node]
        (self.traffic.up if upward else self.traffic.down)[tier] += size
        client = self._index.get(node if upward else to)
        if client is None:
            seconds = self._links.seconds(size, upward)
        elif upward:
            seconds = self._fleet.up_seconds(client, size, self.now)
        else:
            seconds = self._fleet.down_seconds(client, size, self.now)
        if client is not None:
            self.traffic.joules += self._fleet.joules(client, 0.0, size)
        self._push(self.now + seconds, to, Received(node, message))

    def _forget(self, node: str, effect: Forget) -> None:
        owned = (f"{node}#", f"{node}@")
        gone = [key for key in effect.keys if key.startswith(owned) or key not in self._handed]
        self._handed.difference_update(gone)
        self.numbers.forget(self._unneeded(gone))

    def _arrived(self, model: str) -> None:
        self._under_way[model] -= 1
        if not self._under_way[model]:
            del self._under_way[model]

    def _unneeded(self, keys: list[str]) -> list[str]:
        """Keys less the models that others have a copy of, on a real network: they are on their way to a child, or
        an aggregator hands them on to its children."""
        if not any(key in self.numbers.models for key in keys):
            return keys
        handed_on = {node.ledger.model for node in self._merging if node.ledger.working}
        keys = self._kept + keys
        self._kept = [key for key in keys if key in handed_on or key in self._under_way]
        return [key for key in keys if key not in self._kept]

    def _report_size(self, node: str) -> int:
        aggregator = self._aggregators.get(node)
        if aggregator is None or aggregator.role.moves:
            return self._sizes.update
        return self._sizes.partial

    def _train(self, node: str, effect: Train) -> None:
        client = self._index[node]
        attempt = self.attempts[client] = self.attempts.get(client, -1) + 1
        plan = self._plan(client, effect.round, attempt)
        seconds = self._fleet.train_seconds(client, plan.examples, self._cost)
        left = self._fleet.next_away(client, self.now) - self.now
        self.traffic.joules += self._fleet.joules(client, min(seconds, left), 0)
        if left < seconds or self._fleet.drops_out(client, attempt):
            self.traffic.mishaps.count("went away" if left < seconds else "dropped out", node)
            del self._devices[node]
            return
        training = Training(client, self.numbers.models[effect.model], plan.steps, plan.learning_rate, plan.seed)
        self.numbers.updates[effect.update] = training
        home = self._aggregators[self._homes[client]]
        # Of an over-selected cohort some are never needed.
        if self._begun is not None and home.role.tier.over_selection == 1 and home.name not in self._eager:
            self._begun.append(training)
        event = Trained(effect.task, effect.update, samples=plan.samples)
        self._push(self.now + seconds, node, event)
