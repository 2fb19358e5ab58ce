"""Asynchronous, semi-asynchronous and ring rounds."""

from __future__ import annotations

import pytest

from fogline.nodes.effects import Move
from tests.nodes.driver import Driver


def test_async_moves_with_every_buffer_and_keeps_a_cohort_training() -> None:
    root = Driver("async", buffer=2, cohort=3).start("a", "b", "c", "d", "e")
    assert root.asked == ["a", "b", "c"]
    assert len(root.answer("b").asked) == 1  # Somebody free takes the place.
    assert len(root.node.ledger.busy) == 3
    root.answer("a")
    assert root.folded == [("a", 0), ("b", 0)]
    assert len(root.node.ledger.busy) == 3
    assert root.timers["deadline/0"] == 100.0


def test_async_counts_staleness_and_refuses_beyond_the_cap() -> None:
    root = Driver("async", buffer=1, cohort=2, rounds=9, staleness_cap=2).start("a", "b")
    slow = root.node.ledger.busy["b"]
    root.answer("a").answer("a")
    assert root.answer("b", task=slow).folded == [("b", 2)]
    slow = root.node.ledger.busy["b"]
    for _ in range(3):
        root.answer("a")
    root.answer("b", task=slow)
    assert root.counts == ["stale"]
    assert root.receipts == {"b": False}


@pytest.mark.parametrize("late", ["drop", "fold"])
def test_async_replaces_a_child_that_is_lost_longer_than_the_deadline(late: str) -> None:
    root = Driver("async", buffer=1, cohort=2, rounds=9, late=late).start("a", "b", "c")
    root.answer("a", after=60.0)
    assert "b" in root.node.ledger.busy
    busy = next(child for child in root.node.ledger.busy if child != "b")
    root.answer(busy, after=50.0)  # The request to b is 110 seconds old.
    assert len(root.node.ledger.busy) == 2
    root.answer("b", task=1)
    assert root.counts == (["late"] if late == "drop" else [])
    root.answer(next(iter(root.node.ledger.busy)))
    assert (("b", 2) in root.folded) == (late == "fold")


def test_async_moves_at_the_deadline_with_a_quorum_and_keeps_the_young_requests() -> None:
    root = Driver("async", buffer=4, cohort=1.0, rounds=9, quorum=0.25).start("a", "b", "c", "d")
    root.answer("a", after=90.0)
    root.fire("deadline/0", after=10.1)
    assert root.folded == [("a", 0)]
    assert set(root.asked) == {"b", "c", "d"}  # Theirs were lost; that of a is young and stays open.


def test_async_does_not_ask_a_child_that_always_fails_on_and_on() -> None:
    root = Driver("async", buffer=2, cohort=2).start("a", "b")
    assert root.answer("a", failure="broken").asked == []
    assert set(root.answer("b").asked) == {"a", "b"}  # A success fills the cohort up again.


def test_a_newcomer_fills_an_async_cohort() -> None:
    root = Driver("async", cohort=1.0).start("a")
    assert root.join("b").asked == ["b"]


def test_a_buffer_is_not_larger_than_what_trains_at_once() -> None:
    root = Driver("async", buffer=10, cohort=1.0).start("a", "b").answer("a")
    assert root.answer("b").moved


@pytest.mark.parametrize(("children", "buffer"), [(1, 1), (3, 2), (20, 6), (50, 10)])
def test_a_buffer_that_nobody_names_follows_the_children_that_train_at_once(children: int, buffer: int) -> None:
    root = Driver("async", buffer=None).start(*(f"c{i}" for i in range(children)))
    answers = 0
    while not root.moved:
        root.answer(f"c{answers}")
        answers += 1
    assert answers == buffer


def test_an_update_beyond_the_cap_can_weigh_as_one_of_that_age_and_is_counted() -> None:
    root = Driver("async", buffer=1, cohort=2, rounds=9, staleness_cap=2, stale="clip").start("a", "b")
    root.answer("a").answer("a")
    slow = root.node.ledger.busy["b"]
    assert not root.answer("a").counts
    root.answer("b", task=slow)
    assert root.counts == ["clipped"]
    assert root.folded == [("b", 2)]


def test_a_fog_whose_devices_are_gone_moves_by_what_it_has_when_its_time_is_up() -> None:
    fog = Driver("async", buffer=None, rounds=1, parent="up", quorum=0.3).start(*"abcdefghij").work(0)
    fog.answer("a", after=50.0)
    assert not fog.moved
    fog.fire("deadline/0", after=50.0)
    assert fog.folded == [("a", 0)]
    assert fog.reports


def test_semi_async_lanes_go_at_their_own_pace() -> None:
    speeds = {"a": 1.0, "b": 1.1, "c": 60.0, "d": 61.0}
    root = Driver("semi-async", speed_classes=2, rounds=4).start(*"dcba", seconds=speeds)
    assert root.asked == ["a", "b", "c", "d"]
    root.answer("a").answer("b")
    assert [(move.lane, move.lanes) for move in root.of(Move)] == [(0, 2)]
    assert set(root.asked) == {"a", "b"}
    root.answer("a").answer("b").answer("c").answer("d")
    assert root.folded == [("c", 2), ("d", 2)]
    assert [move.lane for move in root.of(Move)] == [1]


def test_semi_async_classes_without_children_make_no_rounds() -> None:
    root = Driver("semi-async", speed_classes=3, rounds=2).start("a", "b")
    assert root.timers == {"deadline/0": 100.0, "deadline/1": 100.0, "open/2": 60.0}
    for _ in range(5):
        assert not root.fire("open/2", after=60.0).counts
    assert root.timers == {"open/2": 360.0}
    assert root.node.ledger.rounds_done == 0


def test_a_class_that_gets_children_again_goes_on() -> None:
    root = Driver("semi-async", speed_classes=2, rounds=9).start("a", seconds={"a": 1.0})
    assert root.timers == {"deadline/0": 100.0, "open/1": 60.0}
    for child in "bcd":
        root.join(child)
    assert {lane.index for lane in root.node.ledger.lanes if lane.open} == {0, 1}


def test_no_lane_sleeps_on_when_the_first_child_is_back_with_an_open_request() -> None:
    """Found by fault seed 42447: only the lane of the request went on, and its class had no children later."""
    root = Driver("semi-async", speed_classes=2, rounds=9).start("a", seconds={"a": 1.0})
    root.crash().start()
    assert set(root.join("a").timers) == {"open/1"}


def test_a_slow_lane_of_a_fog_outlives_the_parents_requests() -> None:
    fog = Driver("semi-async", speed_classes=2, rounds=1, parent="up")
    fog.start("a", "b", seconds={"a": 1.0, "b": 60.0}).work(0)
    assert fog.answer("a").made_group_update
    fog.work(1, "up@1")
    assert fog.asked == ["a"]
    # Older by the other lane's move and by the parent's new model.
    assert fog.answer("b", after=50.0).folded == [("b", 2)]


def ring_order(seed: int, *children: str) -> list[str]:
    root = Driver("ring", rounds=2, seed=seed).start(*children)
    order: list[str] = []
    while root.node.ledger.busy:
        (child,) = root.node.ledger.busy
        order.append(child)
        root.answer(child)
    assert root.finished
    return order


def test_a_ring_visits_each_child_once_a_lap_in_an_order_of_the_seed() -> None:
    order = ring_order(0, *"abcdef")
    assert sorted(order[:6]) == sorted(order[6:]) == list("abcdef")
    assert order[:6] != order[6:]
    assert order == ring_order(0, *"fedcba")  # Whoever joined first.
    assert order != ring_order(1, *"abcdef")


def test_only_the_last_leg_of_a_lap_ends_a_round() -> None:
    root = Driver("ring").start("a", "b")
    finals: list[bool] = []
    for _ in range(2):
        root.answer(next(iter(root.node.ledger.busy)))
        finals += [move.final for move in root.of(Move)]
    assert finals == [False, True]


def test_a_lap_with_too_few_legs_is_a_round_that_came_to_nothing() -> None:
    root = Driver("ring", quorum=1.0, rounds=2).start("a", "b")
    root.fire("deadline/0", after=50.0)
    for _ in range(3):
        root.answer(next(iter(root.node.ledger.busy)))
    assert (root.node.ledger.rounds_done, root.node.ledger.rounds_lost) == (2, 1)


def test_a_lost_leg_takes_its_share_of_the_laps_time_and_the_lap_goes_on() -> None:
    root = Driver("ring").start("a", "b", "c", "d")
    assert root.timers == {"deadline/0": 25.0}
    (first,) = root.asked
    root.fire("deadline/0", after=25.0)
    assert root.counts == ["abandoned"]
    assert root.asked != [first]
    assert root.node.ledger.rounds_done == 0


def test_a_lap_goes_on_after_a_crash_where_it_was() -> None:
    order = ring_order(0, *"abcd")
    root = Driver("ring", rounds=2).start(*"abcd")
    root.answer(order[0]).answer(order[1])
    root.crash().start(*"abcd")
    assert root.answer(order[2]).asked == [order[3]]
