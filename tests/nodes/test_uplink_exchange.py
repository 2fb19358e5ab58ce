"""An aggregator as a child in an exchange: it brings what it has merged, once, and to the parent's steps alone."""

from __future__ import annotations

from typing import TypeVar

import pytest

from fogline.jobs import Tier
from fogline.nodes import Aggregator, AggregatorRole
from fogline.nodes.effects import ChildStep, Count, Effect, Forget, Merge, ParentStep, Send, Write
from fogline.nodes.events import Event, Joined, Received, Started, StepComputed
from fogline.nodes.exchange import state_key
from fogline.nodes.messages import Hello, Receipt, Report, Step, Work, reply_key, step_key, update_key
from fogline.nodes.policies import make_policy
from fogline.nodes.traits import AlgorithmTraits

STEPS = 3
T = TypeVar("T")


class Fog:
    """One with two devices, and what it wants done."""

    def __init__(self, steps: int = 0, demands: int = STEPS) -> None:
        tier = Tier(quorum=1.0)
        role = AggregatorRole("fog", "cloud", tier, AlgorithmTraits(), 1, 100.0, steps=steps, demands=demands)
        self.make = lambda: Aggregator(role, make_policy("uniform"))
        self.node, self.journal = self.make(), list[Write]()

    def does(self, event: Event) -> list[Effect]:
        effects = self.node.handle(event, 1.0)
        self.journal += [effect for effect in effects if isinstance(effect, Write)]
        return effects

    def asked(self, task: int, steps: int = STEPS) -> list[Effect]:
        return self.does(Received("cloud", Work(task, f"cloud@{task}", task, steps=steps)))

    def devices_report(self, first: int) -> list[Effect]:
        effects: list[Effect] = []
        for place in range(2):
            report = Report(first + place, update_key("fog", first + place), 10)
            effects = self.does(Received(f"d{place}", report))
        return effects

    def in_exchange(self, task: int = 0) -> list[Effect]:
        for place in range(2):
            self.does(Joined(f"d{place}", Hello()))
        self.asked(task)
        return self.devices_report(2 * task)

    def again(self) -> list[Effect]:
        """It crashes, and comes back."""
        self.node = self.make()
        for write in self.journal:
            self.node.apply(write.record)
        return self.does(Started())


def of(kind: type[T], effects: list[Effect]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_what_it_merged_goes_in_and_the_last_step_is_its_report() -> None:
    fog = Fog()
    effects = fog.in_exchange()
    (merge,), (step,) = of(Merge, effects), of(ChildStep, effects)
    assert merge.update == step.state == state_key("cloud", 0, 0)
    for number in range(STEPS - 1):
        sent = of(Send, fog.does(StepComputed(0, number, upward=True)))
        assert Send("cloud", Step(0, number, step_key("cloud", 0, number))) in sent
        effects = fog.does(Received("cloud", Step(0, number, reply_key("cloud", 0, number))))
        assert fog.does(Received("cloud", Step(0, number, reply_key("cloud", 0, number)))) == []  # Once.
    (step,) = of(ChildStep, effects)
    assert step.payload == update_key("cloud", 0)
    (sent,) = of(Send, fog.does(StepComputed(0, STEPS - 1, upward=True)))
    assert sent.message == Report(0, update_key("cloud", 0), devices=2)
    forgotten = [key for effect in of(Forget, fog.does(Received("cloud", Receipt(0, True)))) for key in effect.keys]
    assert {"fog#0", "fog#1"} <= {*forgotten}
    assert fog.node.keys() == {"cloud@0"}


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_after_a_crash_it_goes_on_with_the_step_that_it_was_in(number: int) -> None:
    fog = Fog()
    fog.in_exchange()
    for each in range(number + 1):
        fog.does(StepComputed(0, each, upward=True))
        if each < number:
            fog.does(Received("cloud", Step(0, each, reply_key("cloud", 0, each))))
    effects = fog.again()
    if number < 0:
        assert [step.number for step in of(ChildStep, effects)] == [0]
    else:
        assert Send("cloud", Step(0, number, step_key("cloud", 0, number))) in effects
        assert of(ChildStep, effects) == []
    assert {"fog#0", "fog#1", state_key("cloud", 0, number + 1)} <= fog.node.keys()


@pytest.mark.parametrize("ends", ["it is out", "newer work"])
def test_what_it_has_brought_is_not_used_again(ends: str) -> None:
    """The parent may have it in its sum all the same."""
    fog = Fog()
    fog.in_exchange()
    fog.does(StepComputed(0, 0, upward=True))
    if ends == "it is out":
        effects = fog.does(Received("cloud", Receipt(0, False)))
        assert of(Count, effects)
        fog.asked(1)
    else:
        effects = fog.asked(1)
    forgotten = {key for effect in of(Forget, effects) for key in effect.keys}
    assert {"fog#0", "fog#1", state_key("cloud", 0, 1), step_key("cloud", 0, 0)} <= forgotten
    assert sum(fog.node.ledger.dropped.values()) == 2
    (merge,) = of(Merge, fog.devices_report(2))
    assert [member.update for member in merge.members] == ["fog#2", "fog#3"]
    stale = fog.does(StepComputed(0, 1, upward=True))  # What was computed meanwhile goes.
    assert of(Send, stale) == []
    assert of(Forget, stale)


@pytest.mark.parametrize("steps", [0, STEPS - 1])
def test_a_parent_cannot_leave_the_exchange_out(steps: int) -> None:
    fog = Fog()
    for place in range(2):
        fog.does(Joined(f"d{place}", Hello()))
    (sent,) = of(Send, fog.asked(0, steps=steps))
    assert sent.to == "cloud"
    assert isinstance(sent.message, Report)
    assert sent.message.update is None
    assert f"the job has {STEPS}" in (sent.message.failure or "")


def test_its_own_exchange_and_its_parents_are_told_apart() -> None:
    """Both number their requests from 0."""
    fog = Fog(steps=2)
    for place in range(2):
        fog.does(Joined(f"d{place}", Hello()))
    fog.asked(0)
    effects: list[Effect] = []
    for place in range(2):
        effects = fog.does(Received(f"d{place}", Step(place, 0, step_key("fog", place, 0))))
    assert len(of(ParentStep, effects)) == 1
    replies = tuple(reply_key("fog", place, 0) for place in range(2))
    assert fog.does(StepComputed(0, 0, upward=True)) != []  # Nobody waits for it: it is forgotten, and no more.
    assert fog.node.ledger.exchanges[0].number == 0
    fog.does(StepComputed(0, 0, replies))
    assert fog.node.ledger.exchanges[0].number == 1
    (step,) = of(ChildStep, fog.devices_report(0))
    assert (step.task, step.number) == (0, 0)
    fog.does(StepComputed(0, 0, replies))  # A copy of the parent's half, of a round that is over.
    assert fog.node.ledger.up is not None
    assert fog.node.ledger.up.number == -1
