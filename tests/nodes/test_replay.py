"""Replaying a node's journal gives its state back, whatever happened to it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.nodes.effects import Merge, Move
from fogline.nodes.events import Halt, Started, TimerFired
from fogline.nodes.ledger import Ledger
from fogline.nodes.messages import Receipt, Report, update_key
from fogline.nodes.policies import Feedback, make_policy
from fogline.nodes.records import Record
from tests.nodes.driver import Driver, InOrder

Step = Callable[[Driver], object]
CHILDREN = "abcd"


def state(ledger: Ledger) -> dict[str, Any]:
    """All that must survive. What was not yet fetched from the ledger is told again, which harms nobody."""
    return {name: value for name, value in vars(ledger).items() if name not in ("_role", "released", "unused")}


def taught(driver: Driver) -> tuple[list[tuple[str, Feedback]], list[int]]:
    """What the policy was told, and in which rounds."""
    assert isinstance(driver.policy, InOrder)
    return driver.policy.told, driver.policy.rounds


child = st.sampled_from(CHILDREN)
task = st.integers(0, 12)
steps: st.SearchStrategy[Step] = st.one_of(
    child.map(lambda c: lambda d: d.join(c)),
    child.map(lambda c: lambda d: d.leave(c)),
    child.map(lambda c: lambda d: d.answer(c) if c in d.node.ledger.busy else None),
    child.map(lambda c: lambda d: d.answer(c, failure="broken") if c in d.node.ledger.busy else None),
    st.tuples(child, task).map(lambda x: lambda d: d.hear(x[0], Report(x[1], update_key("me", x[1]), 1))),
    task.map(lambda t: lambda d: d.work(t)),
    st.tuples(task, st.booleans()).map(lambda x: lambda d: d.hear("up", Receipt(*x))),
    st.sampled_from(["deadline/0", "deadline/1", "open/0", "retry"]).map(
        lambda name: lambda d: None if name.endswith("1") and d.role.lanes < 2 else d.give(TimerFired(name), after=50.0)
    ),
    st.just(lambda d: d.give(Started())),
    st.just(lambda d: d.crash().give(Started())),
)
drivers = st.builds(
    Driver,
    st.sampled_from(["sync", "async", "semi-async", "ring"]),
    rounds=st.integers(1, 4),
    parent=st.sampled_from([None, "up"]),
    late=st.sampled_from(["fold", "drop"]),
    quorum=st.sampled_from([1, 2, 0.5, 1.0]),
    cohort=st.sampled_from([2, 3, 1.0]),
    minimum=st.sampled_from([1, 1, 2]),
    sift=st.sampled_from([None, lambda accepted: {one.task: "none" for one in accepted if one.task % 3 == 0}]),
    staleness_cap=st.sampled_from([0, 1, 20]),
    speed_classes=st.just(2),
)


@settings(max_examples=300, deadline=None)
@given(drivers, st.lists(steps, max_size=40), st.booleans())
def test_replay_gives_the_state_back(driver: Driver, happened: list[Step], halted: bool) -> None:
    driver.start("a", "b")
    for step in happened:
        step(driver)
    if halted:
        driver.give(Halt())
    before = deepcopy(state(driver.node.ledger))
    learned = taught(driver)
    decode = msgspec.msgpack.Decoder(Record).decode
    driver.journal = [decode(msgspec.msgpack.encode(record)) for record in driver.journal]
    assert state(driver.crash().node.ledger) == before
    assert taught(driver) == learned


@pytest.mark.parametrize("name", ["oort", "power_of_choice", "available"])
def test_a_policy_that_learned_selects_as_before_after_a_crash(name: str) -> None:
    children = [f"d{i}" for i in range(12)]
    picks: list[list[str]] = []
    for crashes in (False, True):
        policy = make_policy(name, exploration=0.0, least=0.0) if name == "oort" else make_policy(name)
        root = Driver(cohort=4, quorum=1, rounds=9, policy=policy).start(*children)
        for _ in range(6):
            for child in list(root.node.ledger.busy)[:3]:
                task = root.node.ledger.busy[child]
                loss = float(child[1:]) + 1.0
                root.hear(child, Report(task, update_key("me", task), 10, loss_rms=loss), after=loss)
            root.fire("deadline/0", after=50.0)
        if crashes:
            root.crash()
            for child in children:
                root.join(child)
        root.give(Started())
        root.fire("deadline/0", after=50.0)
        picks.append(root.asked)
    assert picks[0] == picks[1] != []


@settings(max_examples=300, deadline=None)
@given(drivers, st.lists(steps, max_size=40))
def test_nothing_is_held_twice_and_the_ledger_agrees_with_itself(driver: Driver, happened: list[Step]) -> None:
    driver.start("a", "b")
    for step in happened:
        step(driver)
        for effect in driver.effects:
            if isinstance(effect, Move | Merge):
                keys = [member.update for member in effect.members]
                assert len(keys) == len(set(keys))
        ledger = driver.node.ledger
        waiting = [one.task for lane in ledger.lanes for one in lane.pending] + [one.task for one in ledger.used]
        inside = [key for keys in ledger.outbox.inside.values() for key in keys]
        assert len(waiting) == len(set(waiting))
        assert len(inside) == len(set(inside))
        assert not {update_key("me", t) for t in waiting} & set(inside)
        assert all(ledger.accepted(t) for t in waiting)
        assert not any(t in ledger.asks for t in waiting)
        assert set(ledger.busy.values()) == {t for t, ask in ledger.asks.items() if ask.open}
        assert {t for lane in ledger.lanes for t in lane.asks} == set(ledger.busy.values())
        assert all(lane.absent == sum(ledger.asks[t].absent for t in lane.asks) for lane in ledger.lanes)


@settings(max_examples=100, deadline=None)
@given(drivers, st.lists(steps, max_size=30))
def test_same_events_same_effects(driver: Driver, happened: list[Step]) -> None:
    again = deepcopy(driver)
    for each in (driver, again):
        each.start("a", "b", "c")
        for step in happened:
            step(each)
    assert driver.history == again.history
