"""Drives one aggregator by hand: events go in, and what it did can be asked for."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

from fogline.jobs import Mode, Tier
from fogline.nodes import Aggregator, AggregatorRole
from fogline.nodes.effects import Count, Effect, Finished, Forget, GroupUpdate, Merge, Move, Send, SetTimer, Write
from fogline.nodes.events import Event, Joined, Left, Received, Started, TimerFired, UpdatesChecked
from fogline.nodes.messages import Hello, Message, Receipt, Report, Work, update_key
from fogline.nodes.policies import Candidates, Feedback, Selection
from fogline.nodes.traits import AlgorithmTraits
from fogline.retries import REPORT_AGAIN


class InOrder(Selection):
    """Selects the first children that are ready; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Feedback]] = []
        self.rounds: list[int] = []
        """Of what it was told."""

    def select(self, candidates: Candidates, k: int, rng: random.Random, round: int, now: float) -> list[str]:
        children = [candidates.at(i) for i in range(len(candidates))]
        return [c for c in children if candidates.free(c) and candidates.available(c, now)][:k]

    def observe(self, child: str, feedback: Feedback, round: int) -> None:
        self.told.append((child, feedback))
        self.rounds.append(round)


class Driver:
    """An aggregator named ``me`` (its parent, if any, is ``up``) and the effects of the last event.

    Args:
        mode, rounds, parent, deadline, buffer, group_models, private: of its role.
        minimum, marks: of its role.
        named_buffer: that the job names.
        policy, presence, sift: given to it.
        learned_deadline: whether its tier's is ``auto``; ``deadline`` is the most then.
        tier: of its tier.
    """

    def __init__(
        self,
        mode: Mode = "sync",
        *,
        rounds: int = 3,
        parent: str | None = None,
        deadline: float = 100.0,
        buffer: int | None = 2,
        group_models: bool = False,
        private: bool = False,
        join_window: float = 0.0,
        seed: int = 0,
        minimum: int = 1,
        marks: bool = False,
        named_buffer: int | None = None,
        policy: Selection | None = None,
        presence: Any = None,
        sift: Any = None,
        learned_deadline: bool = False,
        **tier: Any,
    ) -> None:
        self.role = AggregatorRole(
            "me",
            parent,
            Tier(buffer=named_buffer, deadline="auto" if learned_deadline else None, **tier),
            AlgorithmTraits(mode, buffer, group_models, private=private),
            rounds,
            deadline,
            seed,
            retry=REPORT_AGAIN,
            join_window=join_window,
            minimum=minimum,
            marks=marks,
        )
        self.policy = InOrder() if policy is None else policy
        self._untold = deepcopy(self.policy)
        self.presence, self.sift = presence, sift
        self.node = Aggregator(self.role, self.policy, presence, sift)
        self.now = 0.0
        self.journal: list[Any] = []
        self.effects: list[Effect] = []
        self.history: list[Effect] = []

    def give(self, event: Event, after: float = 0.0) -> Driver:
        """Let an event happen, so many seconds later."""
        self.now += after
        self.effects = self.node.handle(event, self.now)
        while getattr(self.sift, "looks", False):
            self.sift.looked()
            self.effects += self.node.handle(UpdatesChecked(), self.now)
        self.history += self.effects
        self.journal += [effect.record for effect in self.effects if isinstance(effect, Write)]
        return self

    def start(self, *children: str, seconds: dict[str, float] | None = None) -> Driver:
        """Start with these children."""
        for child in children:
            self.node.roster.add(child, Hello(seconds=(seconds or {}).get(child)))
        return self.give(Started())

    def join(self, child: str, devices: int = 1) -> Driver:
        """A child comes."""
        return self.give(Joined(child, Hello(devices=devices)))

    def leave(self, child: str) -> Driver:
        """A child goes."""
        return self.give(Left(child))

    def hear(self, sender: str, message: Message, after: float = 0.0) -> Driver:
        """A message comes."""
        return self.give(Received(sender, message), after)

    def work(self, task: int, model: str = "up@0") -> Driver:
        """The parent asks."""
        return self.hear("up", Work(task, model, round=task))

    def answer(
        self,
        child: str,
        task: int | None = None,
        after: float = 0.0,
        failure: str | None = None,
        devices: int = 1,
        training: float | None = None,
        marks: bytes = b"",
    ) -> Driver:
        """A child answers its open request, or the one named."""
        task = self.node.ledger.busy[child] if task is None else task
        update = None if failure else update_key("me", task)
        said = {"samples": 10, "devices": devices, "failure": failure, "training": training, "marks": marks}
        report = Report(task, update, **said)
        return self.hear(child, report, after)

    def fire(self, timer: str, after: float = 0.0) -> Driver:
        """A timer goes off."""
        return self.give(TimerFired(timer), after)

    def crash(self) -> Driver:
        """A new node with a new policy replays the journal; the children are still to come."""
        self.policy = deepcopy(self._untold)
        self.node = Aggregator(self.role, self.policy, self.presence, self.sift)
        for record in self.journal:
            self.node.apply(record)
        return self

    # What it did.

    def of(self, kind: type[Any]) -> list[Any]:
        """Effects of a kind after the last event."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def asked(self) -> list[str]:
        """Children asked after the last event, in order."""
        return [send.to for send in self.of(Send) if isinstance(send.message, Work)]

    @property
    def efforts(self) -> dict[str, float]:
        """How much work was asked for after the last event, by child."""
        return {send.to: send.message.effort for send in self.of(Send) if isinstance(send.message, Work)}

    @property
    def receipts(self) -> dict[str, bool]:
        """Who got a receipt after the last event, and whether the report was accepted."""
        return {send.to: send.message.accepted for send in self.of(Send) if isinstance(send.message, Receipt)}

    @property
    def reports(self) -> list[Report]:
        """Reports sent up after the last event."""
        return [send.message for send in self.of(Send) if isinstance(send.message, Report)]

    @property
    def counts(self) -> list[str]:
        """What was counted after the last event."""
        return [count.what for count in self.of(Count)]

    @property
    def whys(self) -> list[str | None]:
        """Why, of what was counted after the last event."""
        return [count.why for count in self.of(Count)]

    @property
    def forgotten(self) -> set[str]:
        """Keys given up after the last event."""
        return {key for forget in self.of(Forget) for key in forget.keys}

    @property
    def folded(self) -> list[tuple[str, int]]:
        """Child and staleness of what the last event's move or merge folded, in order."""
        return [(m.child, m.staleness) for effect in self.of(Move) + self.of(Merge) for m in effect.members]

    @property
    def moved(self) -> bool:
        """Whether the model moved after the last event."""
        return bool(self.of(Move))

    @property
    def made_group_update(self) -> bool:
        """Whether it made an update of its rounds after the last event."""
        return bool(self.of(GroupUpdate))

    @property
    def finished(self) -> bool:
        """Whether the job is over after the last event."""
        return bool(self.of(Finished))

    @property
    def timers(self) -> dict[str, float]:
        """Timers set after the last event."""
        return {timer.timer: timer.at for timer in self.of(SetTimer)}
