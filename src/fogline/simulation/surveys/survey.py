"""A survey on the virtual clock: devices judge a model or answer a query, and their sums come up the tree.

The same state machines run as on a real network, beside those that train: neither waits for the other. That is why a
survey can be run to its end at the moment at which it begins, on a clock of its own, and costs a run nothing else.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol
from zlib import crc32

from fogline.aggregation.tally import SurveySums, added
from fogline.algorithms.group import Down
from fogline.algorithms.sub_models import measured_names
from fogline.compute.statistics import bytes_of_statistics
from fogline.compute.surveys.layouts import UnsummedError, layout_of
from fogline.compute.surveys.summing import SumFolds, brought_by, tally_of
from fogline.compute.surveys.survey import FORWARD, Question, homes_of_held_out, judges_common
from fogline.jobs.exchanging import survey_exchanges_of
from fogline.jobs.planning import examples_of, mix
from fogline.nodes import Aggregator, Device
from fogline.nodes.effects import (
    AddUp,
    ChildStep,
    Combine,
    Count,
    Effect,
    Examine,
    Forget,
    ParentStep,
    Send,
    SetTimer,
    surveyed,
)
from fogline.nodes.events import Event, Received, Started, TimerFired, Trained
from fogline.nodes.ledger import AcceptedUpdate
from fogline.nodes.messages import HERE, SUMMED, Hello, Key, Message, Report, Step, Work
from fogline.nodes.policies import make_policy
from fogline.nodes.role import survey_role
from fogline.params import State
from fogline.simulation.exchanging import ExchangeValues, Outcome
from fogline.simulation.fleet.counters import Traffic
from fogline.simulation.fleet.scenario import Sizes
from fogline.simulation.profiles import Fleet, fleet_of
from fogline.simulation.setup import Setting, patience
from fogline.simulation.values import LazyValue
from fogline.training.task import Sums

SUMS = 1024
"""Bytes of a report: sums under some dozens of names."""


class Examines(Protocol):
    """What asks devices' examples: the executor."""

    def examine(
        self, question: Question, down: Down, clients: Sequence[str], locals_: Mapping[str, State]
    ) -> list[tuple[Sums, str]]:
        """The answers of devices, in the order of ``clients``: sums, or why there are none."""
        ...


class Surveys:
    """Asks the devices of a run.

    Args:
        setting: the run.
        sizes: bytes of what travels.
        traffic: counts bytes, joules, and what went wrong.
        executor: asks devices' examples.
        locals_: gives the vectors that the method keeps on each device, by client.
    """

    def __init__(
        self,
        setting: Setting,
        sizes: Sizes,
        traffic: Traffic,
        executor: Examines,
        locals_: Callable[[], Mapping[int, State]] = dict,
    ) -> None:
        data, tree = setting.task.data, setting.job.tree
        self.setting, self.sizes, self.traffic, self.executor = setting, sizes, traffic, executor
        self.clients = [*data.clients, *data.held_out]
        held_out = homes_of_held_out(data, tree.leaves())
        self.homes = [*setting.homes, *held_out.values()]
        self.index = {client: place for place, client in enumerate(self.clients)}
        self.fleet: Fleet = fleet_of(setting.job.devices, len(self.clients), setting.job.seed)
        self.tiers = {node: tier for tier in tree.names for node in tree.nodes(tier)}
        self.model = sizes.of(tree.names[0], 0).down
        """Bytes of a model that is to be judged: through the root's stages, and handed on as it is."""
        self.measured = bytes_of_statistics(setting.task.shared, measured_names(setting.algorithm, setting.task))
        """Bytes of the statistics that a device has measured."""
        self.patience = patience(setting, sizes)
        self.summing = survey_exchanges_of(setting.job, setting.exchanges)
        """In what nodes add up what devices find and answer, by tier; empty: each device tells its own."""
        self.in_sums = layout_of(setting.job, setting.algorithm, setting.task, self.summing)
        """How that is laid out there."""
        self.outcomes: dict[str, dict[Key, Outcome]] = {}
        """Of the steps of judgements, by round: what a resumed run repeats its past by."""
        self._locals = locals_
        sizes_of = data.sizes()
        self.samples = [int(size) for size in sizes_of] + [0] * len(held_out)

    def ask(self, question: Question, down: Down, now: float, replaying: bool = False) -> SurveySums | None:
        """The sums of the devices that answered; None if they were too few.

        Args:
            question: what they are asked.
            down: the model, and what comes beside it.
            now: seconds of the virtual clock.
            replaying: a resumed run repeats its past: who answers when is the same, and nothing is computed.
        """
        return _Survey(self, question, down, now, replaying).run()

    def locals_of(self, clients: Sequence[str]) -> dict[str, State]:
        """The vectors that the method keeps on these devices."""
        kept = self._locals()
        found = {client: kept.get(self.index[client]) for client in clients} if kept else {}
        return {client: state for client, state in found.items() if state}


@dataclass
class _Survey:
    """One question, asked once."""

    of: Surveys
    question: Question
    down: Down
    now: float
    replaying: bool
    _aggregators: dict[str, Aggregator] = field(default_factory=dict[str, Aggregator])
    _devices: dict[str, Device] = field(default_factory=dict[str, Device])
    _values: dict[str, SurveySums | str] = field(default_factory=dict[str, "SurveySums | str"])
    """What is behind keys: sums, or the device that will be asked for them."""
    _queue: list[tuple[float, int, str, Event]] = field(default_factory=list[tuple[float, int, str, Event]])
    _exchange: ExchangeValues | None = None
    """What is done in steps: None where devices tell what they found."""
    _steps: dict[Key, LazyValue] = field(default_factory=dict[Key, LazyValue])
    """What is behind the keys of these."""
    _asked: dict[str, None] = field(default_factory=dict[str, None])
    """Devices that were asked, and whose examples were not looked at yet;"""
    _answers: dict[str, tuple[Sums, str]] = field(default_factory=dict[str, tuple[Sums, str]])
    """and what came of those that were: sums, or why there are none."""
    _timers: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    _serial: int = 0
    _result: SurveySums | None = None
    _over: bool = False

    def run(self) -> SurveySums | None:
        of, question = self.of, self.question
        if question.kind in SUMMED and of.summing:
            exchanges = {tier: (exchange, SumFolds()) for tier, exchange in of.summing.items()}
            seed = mix(of.setting.job.seed, question.round, crc32(question.query.encode()))
            self._exchange = ExchangeValues(exchanges, seed)
            if question.kind == "evaluate":
                self._exchange.outcomes = of.outcomes.setdefault(str(question.round), {})
        root = self._build()
        self._handle(root, Received(HERE, self._request()))
        while self._queue and not self._over:
            self.now, serial, name, event = heapq.heappop(self._queue)
            if isinstance(event, TimerFired) and self._timers.get((name, event.timer)) != serial:
                continue  # The timer was set anew.
            self._handle(name, event)
        if self._exchange is None or self._result is None or of.in_sums is None:
            return self._result
        return of.in_sums.named(question.query, self._result)

    def _request(self) -> Work:
        return Work(0, "model", self.question.round, self.question.kind, self.question.query)

    def _build(self) -> str:
        """Every aggregator with its children; the name of the root."""
        of, tree = self.of, self.of.setting.job.tree
        parents = tree.parents()
        for name, parent in parents.items():
            summing = {} if self._exchange is None else of.summing
            steps = {tier: len(exchange.steps) for tier, exchange in summing.items()}
            role = survey_role(of.setting.job, steps, name, of.tiers[name], parent, of.patience.get(name, math.inf))
            role = replace(role, seed=mix(role.seed, self.question.round))
            sift = partial(self._left_out, name) if role.steps else self._failed if role.lowest else None
            away = role.lowest and not of.fleet.always_available
            self._aggregators[name] = Aggregator(role, make_policy("uniform"), self._is_there if away else None, sift)
        plain = Hello()
        # Those that train come first; of what they train on, only they can tell.
        asked = len(of.clients) if self.question.kind == "evaluate" else len(of.setting.homes)
        for client, home in zip(of.clients[:asked], of.homes[:asked], strict=True):
            self._aggregators[home].roster.add(client, plain)
        for name in reversed(list(parents)):
            parent, below = parents[name], self._aggregators[name].population
            if parent is not None and below:
                self._aggregators[parent].roster.add(name, Hello(devices=below))
        for name in self._aggregators:
            self._handle(name, Started())
        return next(iter(parents))

    def _is_there(self, child: str, now: float) -> bool:
        return self.of.fleet.available(self.of.index[child], now)

    def _parent(self, name: str) -> str:
        """Above a device, or an aggregator; of the root, whoever asks."""
        node = self._devices.get(name)
        return node.parent if node is not None else self._aggregators[name].role.parent or HERE

    # Effects.

    def _handle(self, name: str, event: Event) -> None:
        node = self._aggregators.get(name) or self._devices[name]
        for effect in node.handle(event, self.now):
            self._carry_out(name, effect)

    def _carry_out(self, name: str, effect: Effect) -> None:
        of = self.of
        match effect:
            case Send(to=to, message=message):
                self._send(name, to, message)
            case SetTimer(timer=timer, at=at):
                self._timers[name, timer] = self._push(at, name, TimerFired(timer))
            case Examine():
                self._examine(name, effect)
            case ChildStep():
                assert self._exchange is not None
                tier = of.tiers[self._parent(name)]
                self._push(self.now, name, self._exchange.child(tier, effect, self._steps, self.replaying))
            case ParentStep():
                assert self._exchange is not None
                self._push(self.now, name, self._exchange.parent(of.tiers[name], effect, self._steps, self.replaying))
            case Combine(update=update):
                assert self._exchange is not None
                refused = partial(of.traffic.mishaps.count, surveyed(Count("refused")).what)
                self._exchange.combine(of.tiers[name], effect, self._steps, self.replaying, refused)
                result = self._steps[update].result
                self._values[update] = SurveySums() if result is None else tally_of(result)
            case AddUp(update=update, members=members, part=part):
                tallies = [self._values[member.update] for member in members]
                self._values[update] = tally = added((one for one in tallies if isinstance(one, SurveySums)), part)
                if self._exchange is not None and of.tiers.get(self._parent(name)) in of.summing:
                    self._steps[update] = LazyValue(brought_by(tally))
            case Forget(keys=keys):
                for key in keys:
                    if key.startswith(f"{name}#"):  # All share one store: what a node sent up is its parent's.
                        self._values.pop(key, None)
            case Count():
                told = surveyed(effect)
                of.traffic.mishaps.count(told.what, told.child or "", told.why or "")
            case _:
                pass  # Nothing crashes here, so nothing is journaled.

    def _send(self, name: str, to: str, message: Message) -> None:
        of = self.of
        if to == HERE:
            assert isinstance(message, Report)
            value = None if message.update is None else self._values[message.update]
            self._result = value if isinstance(value, SurveySums) and not self.replaying else None
            self._over = True
            return
        up = isinstance(message, Report) or (isinstance(message, Step) and to == self._parent(name))
        client = of.index.get(name if up else to, -1)
        size = self._size(message, to)
        (of.traffic.up if up else of.traffic.down)[of.tiers[to if up else name]] += size
        if client < 0 or (name in self._aggregators and to in self._aggregators):
            seconds = of.setting.links.seconds(size, up)
        else:
            of.traffic.joules += size * of.fleet.joules_per_byte[client]
            seconds = (of.fleet.up_seconds if up else of.fleet.down_seconds)(client, size, self.now)
            if not up and to not in self._devices:
                self._devices[to] = Device(to, name, beside=True)
            if isinstance(message, Work) and to not in self._answers:
                self._asked[to] = None
        self._push(self.now + seconds, to, Received(name, message))

    def _size(self, message: Message, to: str) -> int:
        key = message.value if isinstance(message, Step) else message.update if isinstance(message, Report) else None
        if self._exchange is not None and key in self._exchange.sizes:
            return self._exchange.sizes.pop(key)
        if isinstance(message, Work) and self.question.kind != "query":
            return self.of.model + self.of.traffic.frozen_for(to)
        if not isinstance(message, Report) or message.update is None:
            return self.of.sizes.control
        return self.of.measured if self.question.kind == "measure" else SUMS

    def _examine(self, name: str, effect: Examine) -> None:
        """It takes its time, unless the device drops out."""
        of, client = self.of, self.of.index[name]
        seconds = of.fleet.train_seconds(client, self._examples(client), of.setting.task.cost)
        left = math.inf if of.fleet.always_available else of.fleet.next_away(client, self.now) - self.now
        of.traffic.joules += min(seconds, left) * of.fleet.watts[client]
        if left < seconds or of.fleet.drops_out(client, -1 - self.question.round):
            what = "went away" if left < seconds else "dropped out"
            told = surveyed(Count(what, name))
            of.traffic.mishaps.count(told.what, name)
            return
        if self._exchange is not None and (why := self._brought(name, effect)):
            self._push(self.now + seconds, name, Trained(effect.task, effect.update, 0, failure=why))
            return
        self._values[effect.update] = name
        self._push(self.now + seconds, name, Trained(effect.task, effect.update, of.samples[client]))

    def _examples(self, client: int) -> int:
        """Examples that a device goes over, in units of training on one."""
        of, evaluation = self.of, self.of.setting.job.evaluation
        samples = of.samples[client]
        forward = math.ceil(samples * FORWARD)
        if self.question.kind != "evaluate" or client >= len(of.setting.homes):
            return forward
        if judges_common(of.setting.algorithm, evaluation):
            forward *= 2
        if evaluation.fine_tune is None:
            return forward
        local = of.setting.local.model_copy(update={"epochs": evaluation.fine_tune.epochs, "steps": None})
        return examples_of(local, samples, local.step_count(samples)) + forward

    def _brought(self, name: str, effect: Examine) -> str:
        """Have a device's answer ready for the steps; why it has none, if so."""
        layout, exchange = self.of.in_sums, self._exchange
        assert layout is not None
        assert exchange is not None
        if self.replaying:
            self._steps[effect.update] = LazyValue()
            return exchange.outcomes.get(effect.update, {}).get("failure", "")
        found, why = self._answer_of(name)
        try:
            self._steps[effect.update] = LazyValue(None if why else layout.update_of(effect.query, found))
        except UnsummedError as error:
            why = str(error)
        if why:
            exchange.outcomes[effect.update] = {"failure": why}
        return why

    def _answer_of(self, name: str) -> tuple[Sums, str]:
        """A device's sums, or why there are none. All that wait with it are asked together."""
        if name not in self._answers:
            clients, self._asked = [*self._asked], {}
            found = self.of.executor.examine(self.question, self.down, clients, self.of.locals_of(clients))
            self._answers |= dict(zip(clients, found, strict=True))
        return self._answers[name]

    def _left_out(self, node: str, gots: Sequence[AcceptedUpdate]) -> dict[int, str]:
        """Whose reports would not be in what the exchange comes to, by request, and why."""
        combine = self._aggregators[node].combines(gots)
        if combine is None or self._exchange is None or self.replaying:
            return {}
        whys = self._exchange.failed(self.of.tiers[node], combine, self._steps)
        return {got.task: whys[got.child] for got in gots if got.child in whys}

    def _failed(self, gots: Sequence[AcceptedUpdate]) -> dict[int, str]:
        """Which devices have no answer, by request, and why: they are asked now, all who wait together."""
        wanted = [got for got in gots if isinstance(self._values[got.update], str)]
        if self.replaying or not wanted:
            return {}
        clients = [got.child for got in wanted]
        answers = self.of.executor.examine(self.question, self.down, clients, self.of.locals_of(clients))
        whys: dict[int, str] = {}
        for got, (sums, why) in zip(wanted, answers, strict=True):
            self._values[got.update] = SurveySums.of(sums)
            if why:
                whys[got.task] = why
        return whys

    def _push(self, at: float, name: str, event: Event) -> int:
        self._serial += 1
        heapq.heappush(self._queue, (at, self._serial, name, event))
        return self._serial
