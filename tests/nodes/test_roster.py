"""Children in rows and classes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fogline.nodes.children.indexed_set import IndexedSet
from fogline.nodes.children.roster import Roster
from fogline.nodes.children.speeds import SpeedClasses
from fogline.nodes.messages import Hello


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"))))
def test_a_row_holds_what_was_added_and_not_removed(changes: list[tuple[bool, str]]) -> None:
    row, expected = IndexedSet(), set[str]()
    for add, name in changes:
        (row.add if add else row.remove)(name)
        (expected.add if add else expected.discard)(name)
        assert len(row) == len(expected)
        assert {row.at(i) for i in range(len(row))} == set(row) == expected
        assert all((name in row) == (name in expected) for name in "abcdef")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15), st.floats(0.1, 99.0) | st.none())), st.integers(1, 4))
def test_every_child_is_in_one_class(changes: list[tuple[int, int, float | None]], count: int) -> None:
    classes, expected = SpeedClasses(count), set[str]()
    for what, child, seconds in changes:
        name = f"d{child}"
        if what == 0 and name not in expected:
            classes.add(name, seconds)
            expected.add(name)
        elif what == 1:
            classes.remove(name)
            expected.discard(name)
        elif name in expected:
            classes.measured(name, seconds or 1.0)
        members = [name for i in range(count) for name in classes.row(i)]
        assert len(members) == len(expected)
        assert set(members) == expected


def test_classes_are_equal_and_the_fastest_first_and_unknown_speeds_last() -> None:
    classes = SpeedClasses(3)
    for i in (5, 1, 4, 0, 3, 2):
        classes.add(f"d{i}", None if i == 5 else float(i))
    assert [sorted(classes.row(i)) for i in range(3)] == [["d0", "d1"], ["d2", "d3"], ["d4", "d5"]]


def test_classes_follow_what_was_measured() -> None:
    classes = SpeedClasses(2)
    for name in "abcd":
        classes.add(name, None)
    assert sorted(classes.row(0)) == ["a", "b"]
    for name, seconds in zip("abcd", (9.0, 8.0, 1.0, 2.0), strict=True):
        classes.measured(name, seconds)
    assert sorted(classes.row(0)) == ["c", "d"]


def test_measured_durations_go_before_told_ones() -> None:
    roster = Roster(None, 100.0)
    roster.add("a", Hello(seconds=5.0))
    assert roster.seconds("a") == 5.0
    roster.measured("a", 20.0)
    assert roster.seconds("a") == 20.0
    roster.measured("a", 40.0)
    assert roster.seconds("a") == 25.0


def test_devices_are_counted_through_joins_changes_and_leaves() -> None:
    roster = Roster(None, 100.0)
    roster.add("f", Hello(devices=5))
    roster.add("g", Hello(devices=2))
    roster.add("f", Hello(devices=7))
    assert roster.devices() == 9
    roster.remove("g")
    assert (len(roster), roster.devices()) == (1, 7)


def test_the_idle_row_holds_those_without_a_request() -> None:
    busy: dict[str, int] = {"b": 1}
    roster = Roster(None, 100.0, busy, idle=True)
    assert roster.idle is not None
    for name in "abc":
        roster.add(name, Hello())
    assert set(roster.idle) == {"a", "c"}
    busy["a"] = 2
    roster.occupy("a")
    del busy["b"]
    roster.release("b")
    roster.remove("c")
    assert set(roster.idle) == {"b"}
