"""What an aggregator learns of how long its children take, and what it makes of it."""

from __future__ import annotations

import pytest

from fogline.nodes.policies import make_policy
from tests.nodes.driver import Driver

CHILDREN = tuple(f"c{i}" for i in range(10))
QUICK, SLOW = CHILDREN[:9], CHILDREN[9]


def first_round(root: Driver) -> Driver:
    """Nine children take four to twelve seconds, and the last one forty."""
    for child in QUICK:
        root.answer(child, after=1.0 if root.now else 4.0, training=root.now)
    return root.answer(SLOW, after=28.0, training=36.0)


def test_a_learned_deadline_leaves_out_who_is_much_slower_and_is_learned_again_after_a_crash() -> None:
    root = Driver(rounds=9, learned_deadline=True).start(*CHILDREN)
    assert root.timers["deadline/0"] == 100.0  # Nothing is known yet.
    wait = first_round(root).timers["deadline/0"] - root.now
    assert 12.0 < wait < 20.0
    assert root.crash().start(*CHILDREN).timers["deadline/0"] - root.now == pytest.approx(wait)
    for child in QUICK:
        root.answer(child, after=1.0)
    assert len(root.fire("deadline/0", after=wait).folded) == 9


def test_a_learned_deadline_that_was_too_short_for_many_grows() -> None:
    root = Driver(rounds=9, learned_deadline=True, quorum=0.1).start(*CHILDREN)
    waits = [first_round(root).timers["deadline/0"] - root.now]
    for _ in range(4):
        root.answer(CHILDREN[0], after=1.0).fire("deadline/0", after=waits[-1] - 1.0)
        waits.append(root.timers["deadline/0"] - root.now)
    assert waits[0] < waits[-1] <= 100.0


def test_learned_over_selection_asks_for_those_that_will_not_come() -> None:
    root = Driver(cohort=4, over_selection="auto", rounds=9).start(*CHILDREN)
    assert len(root.asked) == 4
    for _ in range(3):  # In each the first of four fails.
        for place, child in enumerate(list(root.node.ledger.busy)):
            root.answer(child, failure="broken" if place == 0 else None)
            if root.moved:
                break
    assert 5 <= len(root.asked) <= 6
    asked = len(root.node.ledger.busy)
    assert len(root.crash().start(*CHILDREN).node.ledger.busy) == asked


def test_timelyfl_asks_each_for_what_fits_into_the_rounds_time_and_again_after_a_crash() -> None:
    root = Driver(rounds=9, policy=make_policy("timelyfl", least=0.1)).start(*CHILDREN)
    assert set(root.efforts.values()) == {0.1}  # Nobody is known yet.
    for child in QUICK:  # Each took 2 seconds of training for a tenth of its work, so 20 for all, and 2 of travel.
        root.answer(child, after=4.0 if child == QUICK[0] else 0.0, training=2.0)
    root.answer(SLOW, after=36.0, training=38.0)
    efforts = dict(root.efforts)
    assert {efforts[child] for child in QUICK} == {1.0}
    assert efforts[SLOW] == pytest.approx(20.0 / 380.0, abs=0.05)
    root.crash().start(*CHILDREN)
    assert root.join(SLOW).efforts == {SLOW: efforts[SLOW]}


def test_timelyfl_asks_a_quick_child_for_more_where_the_job_lets_it() -> None:
    root = Driver(rounds=9, policy=make_policy("timelyfl", least=1.0, most=2.0)).start("a", "b", "c")
    root.answer("a", after=10.0, training=10.0).answer("b", after=10.0, training=20.0)
    root.answer("c", after=20.0, training=40.0)
    assert root.efforts == pytest.approx({"a": 2.0, "b": 1.0, "c": 1.0})
