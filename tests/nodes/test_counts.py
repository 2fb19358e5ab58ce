"""What a round needs to count: never fewer than the job says, in every mode, and no device that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from fogline.jobs import Mode
from fogline.nodes.effects import Move
from fogline.nodes.ledger import AcceptedUpdate
from fogline.nodes.policies.rotation import Rotation, turn_of
from tests.nodes.driver import Driver

DEADLINE = 100.0


def devices(driver: Driver) -> list[int]:
    """Of the moves after the last event."""
    return [move.devices for move in driver.of(Move)]


def wait(driver: Driver, seconds: float) -> Driver:
    """Let a waiting lane look again, every minute."""
    for _ in range(int(seconds // 50)):
        driver.fire("open/0", after=50.0)
    return driver


COUNT = ({"quorum": 3}, 1, "2 could be asked, the quorum is 3")
SHARE = ({"cohort": 3, "quorum": 1.0}, 1, "2 could be asked, the quorum is 3")
MINIMUM = (dict[str, float](), 3, "2 devices could be asked, the job's minimum is 3")


@pytest.mark.parametrize(
    ("mode", "tier", "minimum", "why"),
    [
        ("sync", *COUNT),
        ("sync", *SHARE),
        ("sync", *MINIMUM),
        ("async", *COUNT),
        ("async", *MINIMUM),
        ("ring", *COUNT),
        ("ring", *SHARE),
    ],
)
def test_a_round_waits_for_those_it_needs_and_is_abandoned_at_its_deadline(
    mode: Mode, tier: dict[str, float], minimum: int, why: str
) -> None:
    root = Driver(mode, rounds=2, minimum=minimum, **tier).start("a", "b")
    assert root.asked == []
    assert wait(root, DEADLINE).counts == ["abandoned"]
    assert root.whys == [why]
    assert len(root.join("c").asked) == (1 if mode == "ring" else 3)


TURNS = [next(f"d{i}" for i in range(100) if turn_of(f"d{i}", 3) == turn) for turn in range(3)]
"""A child for each turn."""


def test_a_turn_that_nobody_has_takes_no_time() -> None:
    root = Driver(rounds=4, quorum=1, policy=Rotation(period=3)).start(TURNS[0], TURNS[2])
    root.answer(TURNS[0])
    assert (root.moved, root.asked, root.counts) == (True, [], [])
    assert root.fire("open/0").counts == ["abandoned"]
    assert root.whys == ["nobody could be asked"]
    assert root.asked == [TURNS[2]]
    assert root.now == 0.0


def test_a_child_that_is_away_is_waited_for_in_its_turn() -> None:
    root = Driver(rounds=4, quorum=1, policy=Rotation(period=3)).start(*TURNS).leave(TURNS[1])
    root.answer(TURNS[0])
    assert root.fire("open/0", after=1.0).counts == []
    assert root.join(TURNS[1]).asked == [TURNS[1]]


@pytest.mark.parametrize("mode", ["sync", "async", "semi-async"])
def test_a_run_in_which_nothing_can_count_ends_by_itself(mode: Mode) -> None:
    root = Driver(mode, rounds=3, quorum=2, speed_classes=1).start("a")
    assert not wait(root, 2 * DEADLINE).finished
    assert wait(root, DEADLINE).finished
    assert not [effect for effect in root.history if isinstance(effect, Move)]


def test_a_cohort_of_a_count_goes_on_with_those_that_suffice_for_its_quorum() -> None:
    root = Driver(cohort=4, quorum=0.5).start("a", "b")
    assert root.asked == ["a", "b"]
    assert root.answer("a").answer("b").moved
    root = Driver(cohort=4, quorum=0.5).start("a", "b").answer("a", failure="no battery")
    assert not root.answer("b").moved
    assert root.counts == ["abandoned"]


def test_the_minimum_counts_devices_and_not_children() -> None:
    root = Driver(minimum=4)
    root.start().join("f", devices=2)
    assert root.asked == []
    assert root.join("g", devices=2).asked == ["f", "g"]
    root.answer("f", devices=2)
    assert not root.answer("g", devices=1).moved
    assert (root.counts, root.whys) == (["abandoned"], ["3 devices, the job's minimum is 4"])
    # What came is carried into the next round; a device counts once in it.
    root.answer("f", devices=2)
    assert devices(root.answer("g", devices=2)) == [4]


def marks_of(*devices: str) -> bytes:
    """What a fog says of the devices in its report; a fog below it says the same."""
    fog = Driver(rounds=1, parent="up", marks=True).start(*devices).work(0)
    for device in devices:
        fog.answer(device)
    above = Driver(rounds=1, parent="up", marks=True).start("fog").work(0)
    above.answer("fog", devices=len(devices), marks=fog.reports[0].marks)
    assert [report.devices for report in (*fog.reports, *above.reports)] == [len(devices)] * 2
    assert above.reports[0].marks == fog.reports[0].marks
    return above.reports[0].marks


def test_a_device_that_changed_its_fog_counts_once_for_the_minimum() -> None:
    root = Driver(minimum=4, marks=True)
    root.start().join("f", devices=2).join("g", devices=2)
    root.answer("f", devices=2, marks=marks_of("a", "b"))
    assert not root.answer("g", devices=2, marks=marks_of("b", "c")).moved
    assert (root.counts, root.whys) == (["abandoned"], ["3 devices, the job's minimum is 4"])
    # What came is carried into the next round, through a crash too; and whoever says no names counts as one.
    root.crash().start("f", "g").answer("f", devices=2, marks=marks_of("c", "a"))
    assert devices(root.answer("g", devices=9)) == [4]


def test_a_round_of_too_few_devices_waits_for_who_may_come_back() -> None:
    root = Driver(minimum=2, quorum=1).start("a", "b").answer("a").leave("b")
    assert not root.moved
    assert root.counts == ["left"]
    root.join("b")
    assert root.answer("b").moved


def test_an_async_buffer_waits_for_other_devices_and_does_not_train_on_with_the_same() -> None:
    root = Driver("async", minimum=2, buffer=2, cohort=2).start("a", "b")
    root.answer("a")
    assert root.asked == ["a"]
    root.answer("a")
    assert not root.moved
    assert root.asked == []
    assert devices(root.answer("b")) == [2]


def test_an_async_quorum_of_a_count_is_of_different_children() -> None:
    root = Driver("async", quorum=2, buffer=2).start("a", "b").answer("a").answer("a")
    assert not root.moved
    assert devices(root.answer("b")) == [2]


def test_an_async_buffer_that_the_job_names_is_not_cut_to_who_is_there() -> None:
    root = Driver("async", buffer=3, quorum=1).start("a")
    assert root.answer("a").moved  # The method's own is.
    root = Driver("async", quorum=1, named_buffer=3).start("a")
    assert not root.answer("a").answer("a").moved
    assert root.answer("a").moved


def test_a_class_of_speed_with_too_few_children_waits_while_another_works() -> None:
    seconds = {"a": 1.0, "b": 1.1, "c": 9.0}
    root = Driver("semi-async", rounds=9, quorum=2, speed_classes=2).start("a", "b", "c", seconds=seconds)
    assert sorted(root.asked) == ["a", "b"]
    for _ in range(5):
        root.fire("open/1", after=60.0)
        assert root.counts == []
    assert root.node.ledger.rounds_done == 0


def test_a_ring_that_lost_most_of_its_legs_is_abandoned() -> None:
    root = Driver("ring", rounds=2, quorum=0.5).start("a", "b", "c", "d")
    for _ in range(3):
        root.answer(root.asked[0], failure="no battery")
    root.answer(root.asked[0])
    assert [move.final for move in root.of(Move)] == [False]
    assert (root.counts, root.whys) == (["abandoned"], ["1 of 4 hops, the quorum is 2"])
    root.answer(root.asked[0]).answer(root.asked[0])
    root.answer(root.asked[0], failure="no battery")
    root.answer(root.asked[0], failure="no battery")
    assert [(move.final, move.members) for move in root.of(Move)] == [(True, ())]
    assert root.finished


class Sieve:
    """Says which updates are none, when it is asked."""

    def __init__(self, *failed: str) -> None:
        self.failed = failed

    def __call__(self, accepted: Sequence[AcceptedUpdate]) -> Mapping[int, str]:
        return {one.task: "the loss is nan" for one in accepted if one.child in self.failed}


class Later(Sieve):
    """Knows it a little later, as on real nodes."""

    def __init__(self, *failed: str) -> None:
        super().__init__(*failed)
        self.looks, self.known = False, set[int]()
        self.asked = set[int]()

    def __call__(self, accepted: Sequence[AcceptedUpdate]) -> Mapping[int, str] | None:
        self.asked = {one.task for one in accepted}
        if self.asked <= self.known:
            return super().__call__(accepted)
        self.looks = True
        return None

    def looked(self) -> None:
        self.known |= self.asked
        self.looks = False


at_once_or_later = pytest.mark.parametrize("sieve", [Sieve, Later])


@at_once_or_later
def test_updates_that_turn_out_to_be_none_do_not_count(sieve: type[Sieve]) -> None:
    root = Driver(sift=sieve("a", "c"), quorum=0.5).start("a", "b", "c", "d")
    for child in "abc":
        assert not root.answer(child).counts
    root.answer("d")
    assert root.counts == ["failed", "failed"]
    assert root.folded == [("b", 0), ("d", 0)]
    assert devices(root) == [2]
    assert {"me#0", "me#2"} <= root.forgotten
    assert root.node.ledger.dropped["failed"] == 2


@at_once_or_later
def test_a_round_of_updates_that_turn_out_to_be_none_is_abandoned(sieve: type[Sieve]) -> None:
    root = Driver(sift=sieve("a", "b", "c"), quorum=0.5, rounds=2).start("a", "b", "c", "d")
    for child in "abcd":
        root.answer(child)
    assert not root.moved
    assert root.counts == ["failed", "failed", "failed", "abandoned"]
    # The good one is carried, and the journal says all of it.
    assert [one.child for one in root.node.ledger.lanes[0].pending] == ["d"]
    before = root.node.ledger.lanes[0].pending
    assert root.crash().node.ledger.lanes[0].pending == before
    assert [child for child, told in root.policy.told if told.failed] == ["a", "b", "c"]  # type: ignore[attr-defined]


@at_once_or_later
def test_with_over_selection_others_take_the_place_of_those_that_failed(sieve: type[Sieve]) -> None:
    root = Driver(sift=sieve("a"), cohort=2, over_selection=1.5, quorum=1.0).start("a", "b", "c")
    root.answer("a")
    assert not root.answer("b").moved
    assert root.counts == ["failed"]
    assert root.answer("c").folded == [("b", 0), ("c", 0)]


@at_once_or_later
def test_a_round_whose_time_is_up_is_looked_at_before_it_counts(sieve: type[Sieve]) -> None:
    root = Driver(sift=sieve("a"), quorum=2).start("a", "b", "c")
    root.answer("a").answer("b")
    assert not root.fire("deadline/0", after=DEADLINE).moved
    assert root.counts == ["failed", "abandoned"]


@at_once_or_later
def test_who_is_away_is_waited_for_where_a_round_has_too_few_without(sieve: type[Sieve]) -> None:
    root = Driver(sift=sieve("a"), quorum=2).start("a", "b", "c")
    root.answer("a").answer("b")
    assert not root.leave("c").moved
    assert root.counts == ["left", "failed"]
    root.join("c").answer("c")
    assert root.folded == [("b", 0), ("c", 0)]


@at_once_or_later
def test_a_fog_below_its_quorum_reports_nothing_that_counts(sieve: type[Sieve]) -> None:
    fog = Driver(sift=sieve("a", "b"), quorum=0.5, rounds=1, parent="up").start("a", "b", "c").work(0)
    for child in "abc":
        fog.answer(child)
    assert fog.counts == ["failed", "failed", "abandoned"]
    assert [(report.update, report.failure) for report in fog.reports] == [
        (None, "none of its rounds reached the quorum")
    ]
