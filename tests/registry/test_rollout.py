"""A rollout goes from ring to ring, and back where the new version does worse."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import msgspec
import pytest

from fogline.inference.card import Asset
from fogline.registry.comparison import tail_latency
from fogline.registry.release import BUCKETS, Outcome, Release, Tally, Thresholds, Vitals, place, read_release
from fogline.registry.rollout import ABSENCE, RolloutError, due, handle
from fogline.registry.rollout_events import (
    Abort,
    Advance,
    Begin,
    CloudRestored,
    DriftReported,
    Event,
    NodesKnown,
    Pause,
    Resume,
    Rollback,
    RolloutPlan,
    ServedVersion,
    Tick,
)
from fogline.registry.rollout_state import Rollout

MODEL = "vibration"
FLEET = frozenset(f"press-{number}" for number in range(200))
What = Literal["probation", "committed", "reverted", "failed", "alarm", "shadowing"]


def served(version: int) -> ServedVersion:
    return ServedVersion(Asset(f"{version:064x}", 900), version)


class Cloud:
    """A rollout with a clock that is turned by hand, and what it has released."""

    def __init__(self, nodes: Iterable[str] = FLEET, good: ServedVersion | None = served(1)) -> None:  # noqa: B008
        self.rollout = Rollout(model=MODEL, number=10, good=good)
        self.releases: list[Release] = []
        self.notes: list[str] = []
        self.now = 1000.0
        self.tell(NodesKnown(frozenset(nodes)))

    def tell(self, event: Event) -> Cloud:
        step = handle(self.rollout, event, self.now)
        self.rollout = step.rollout
        self.notes += step.notes
        if step.release is not None:
            assert step.release == step.rollout.release()
            assert read_release(msgspec.json.encode(step.release)) == step.release
            self.releases.append(step.release)
        return self

    def wait(self, seconds: float) -> Cloud:
        self.now += seconds
        return self.tell(Tick())

    @property
    def last(self) -> Release:
        return self.releases[-1]

    @property
    def ring(self) -> list[str]:
        return [node for node in self.rollout.nodes if self.last.holds(node)]

    def report(self, what: What, nodes: Iterable[str] | None = None, why: str = "") -> Cloud:
        number, version = self.last.number, self.last.version
        for node in self.ring if nodes is None else nodes:
            self.tell(Outcome(node, MODEL, number, version, what, why, self.now))
        return self

    def count(self, version: int, **counts: Any) -> Cloud:
        return self.tell(Vitals(MODEL, version, Tally(**counts)))


def answers(count: int, accuracy: float = 0.9, confidence: float = 0.8, errors: int = 0, bucket: int = 6) -> Any:
    latency = tuple(count if place == bucket else 0 for place in range(bucket + 1))
    labels = count // 4
    return {
        "answers": count,
        "errors": errors,
        "labels": labels,
        "correct": round(labels * accuracy),
        "confidence": confidence * count,
        "confident": count,
        "latency": latency,
    }


# Rings


def test_rings_widen_as_nodes_commit() -> None:
    cloud = Cloud().tell(Begin(served(2)))
    shares = []
    while cloud.rollout.phase == "rolling":
        shares.append(cloud.last.width)
        assert (cloud.last.card, cloud.last.before) == (served(2).card, served(1).card)
        cloud.report("committed").wait(60)
    assert shares == [0.05, 0.25, 1.0]
    assert [release.number for release in cloud.releases] == [11, 12, 13, 14]
    assert (cloud.last.state, cloud.last.width, cloud.last.card) == ("done", 1.0, served(2).card)
    assert len({release.salt for release in cloud.releases}) == 1
    assert cloud.rollout.good == served(2)


def test_a_ring_takes_its_time_and_enough_nodes() -> None:
    cloud = Cloud().tell(Begin(served(2)))
    ring = cloud.ring
    cloud.wait(61).report("committed", ring[: len(ring) // 2]).wait(61)
    assert len(cloud.releases) == 1
    cloud = Cloud().tell(Begin(served(2))).report("committed").wait(59)
    assert len(cloud.releases) == 1
    assert due(cloud.rollout) == cloud.rollout.next_ring == cloud.now + 1
    assert len(cloud.wait(1).releases) == 2


def test_nobody_outside_the_ring_and_no_past_report_counts() -> None:
    cloud = Cloud().tell(Begin(served(2)))
    outside = [node for node in FLEET if node not in cloud.ring]
    cloud.report("failed", outside).report("committed", outside).wait(61)
    assert len(cloud.releases) == 1
    cloud.tell(Abort())
    cloud.tell(Begin(served(2)))
    for node in cloud.ring:
        cloud.tell(Outcome(node, MODEL, 11, 2, "failed", "of the first try", cloud.now))
    assert cloud.rollout.phase == "rolling"


def test_the_newest_word_of_a_node_counts_however_late_the_others_come() -> None:
    cloud = Cloud().tell(Begin(served(2), RolloutPlan(thresholds=Thresholds(failure=0.5))))
    node = cloud.ring[0]
    for what, at in (("committed", 50.0), ("probation", 10.0), ("probation", 10.0)):
        cloud.tell(Outcome(node, MODEL, 11, 2, what, "", at))  # pyright: ignore[reportArgumentType]
    assert cloud.rollout.successes == 1


def test_what_happens_to_a_good_version_later_is_recorded_and_changes_nothing() -> None:
    cloud = Cloud()
    before = cloud.rollout
    cloud.tell(Outcome("press-1", MODEL, 10, 1, "reverted", "the server ended 3 times in a row", cloud.now))
    cloud.tell(Outcome("press-1", MODEL, 10, 1, "committed", "", cloud.now + 1))
    assert cloud.notes == [f"press-1 reverted {MODEL} version 1: the server ended 3 times in a row"]
    assert (cloud.rollout, cloud.releases) == (before, [])


def test_a_ring_that_does_not_get_through_is_paused() -> None:
    cloud = Cloud().tell(Begin(served(2))).report("committed", ["press-1"])
    assert due(cloud.rollout) == cloud.now + 7200
    cloud.wait(7200)
    assert (cloud.last.state, cloud.last.width) == ("paused", 0.05)
    assert "nodes of its ring are through" in cloud.notes[-1]
    assert due(cloud.rollout) is None
    cloud.report("committed").wait(99999)
    assert cloud.last.state == "paused"
    cloud.tell(Resume()).wait(60)
    assert cloud.last.width == 0.25


def test_by_hand() -> None:
    cloud = Cloud().tell(Begin(served(2), RolloutPlan(automatic=False))).report("committed").wait(60)
    assert len(cloud.releases) == 1
    assert "by hand" in cloud.notes[-1]
    noted = len(cloud.notes)
    assert len(cloud.wait(99999).notes) == noted
    assert due(cloud.rollout) is None
    cloud.tell(Advance())
    assert cloud.last.width == 0.25
    cloud.tell(Advance())
    assert cloud.last.width == 1.0
    cloud.tell(Advance())
    assert cloud.last.state == "done"


def test_a_version_does_not_supersede_itself() -> None:
    cloud = Cloud().tell(Begin(served(2), RolloutPlan()))
    cloud.tell(Begin(served(2), RolloutPlan(automatic=False)))
    assert not any("supersedes" in note for note in cloud.notes)
    cloud.tell(Begin(served(3), RolloutPlan()))
    assert any("Version 3 of vibration supersedes" in note for note in cloud.notes)


@pytest.mark.parametrize("event", [Pause(), Resume(), Abort(), Advance()])
def test_commands_that_make_no_sense_are_refused(event: Event) -> None:
    with pytest.raises(RolloutError, match="nothing is being rolled out"):
        Cloud().tell(event)
    cloud = Cloud().tell(Begin(served(2)))
    with pytest.raises(RolloutError, match="its rollout is rolling"):
        cloud.tell(Resume())
    with pytest.raises(RolloutError, match="thermal"):
        cloud.tell(Outcome("press-1", "thermal", 11, 2, "failed"))


# Small fleets


def test_a_small_fleet_sends_one_node_ahead() -> None:
    for number in range(20):
        cloud = Cloud([f"line-{number}-{place}" for place in range(3)]).tell(Begin(served(2)))
        assert len(cloud.ring) == 1
        rings = [cloud.ring]
        while cloud.rollout.phase == "rolling":
            cloud.report("committed").wait(60)
            if cloud.last.state == "rolling":
                rings.append(cloud.ring)
        assert cloud.last.state == "done"
        # No ring waits for nobody.
        assert all(set(before) < set(after) for before, after in pairwise(rings))
        assert len(rings[-1]) == 3


def test_one_node_is_one_ring() -> None:
    cloud = Cloud(["press-1"]).tell(Begin(served(2))).report("committed").wait(60)
    assert [release.state for release in cloud.releases] == ["rolling", "done"]
    cloud = Cloud(["press-1"]).tell(Begin(served(2))).report("reverted", why="golden samples")
    assert (cloud.last.state, cloud.last.card) == ("aborted", served(1).card)


def test_a_rollout_waits_for_a_fleet_that_is_not_there() -> None:
    cloud = Cloud([]).tell(Begin(served(2))).wait(99999)
    assert len(cloud.releases) == 1
    assert due(cloud.rollout) is None
    cloud.tell(NodesKnown(frozenset({"press-1", "press-2"})))
    assert len(cloud.ring) == 1
    cloud.report("committed").wait(60).report("committed").wait(60)
    assert cloud.last.state == "done"


def test_nodes_that_come_back_need_not_repeat_that_they_are_through() -> None:
    cloud = Cloud().tell(Begin(served(2))).report("committed")
    ring = cloud.ring
    cloud.tell(NodesKnown(FLEET - {ring[0]})).tell(NodesKnown(FLEET)).wait(60)
    assert set(cloud.ring) > set(ring)
    # Those that have gone are not waited for.
    there = cloud.ring[: len(cloud.ring) // 2]
    cloud.report("committed", there).tell(NodesKnown(frozenset(there))).wait(60)
    assert cloud.last.width == 1.0


@pytest.mark.parametrize("first", range(0, 20, 3))
def test_a_ring_is_no_larger_whoever_connects_first(first: int) -> None:
    fleet = [f"line-{number}" for number in range(20)]
    cloud = Cloud([]).tell(Begin(served(2), RolloutPlan(rings=(0.1, 0.5, 1.0))))
    cloud.tell(NodesKnown(frozenset({fleet[first]})))
    assert cloud.ring == [fleet[first]]
    cloud.tell(NodesKnown(frozenset(fleet)))
    assert cloud.ring == [fleet[first]]
    cloud.report("committed").wait(60)
    assert len(cloud.ring) == 10
    assert fleet[first] in cloud.ring
    cloud.report("committed").wait(60)
    assert set(cloud.ring) == set(fleet)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.5])
def test_a_large_ring_holds_what_it_may_and_all_that_it_held(width: float) -> None:
    fleet = [f"line-{number}" for number in range(2000)]
    first = max(fleet, key=lambda node: place(node, f"{MODEL}/2/11"))
    cloud = Cloud([first]).tell(Begin(served(2), RolloutPlan(rings=(0.0005, width, 1.0))))
    cloud.tell(NodesKnown(frozenset(fleet))).report("committed").wait(60)
    assert first in cloud.ring
    assert len(cloud.ring) == round(width * 2000)
    assert len(cloud.last.named) <= 100


def test_a_ring_does_not_widen_because_the_cloud_was_restarted() -> None:
    cloud = Cloud().tell(Begin(served(2)))
    ring, others = cloud.ring, [node for node in sorted(FLEET) if node not in cloud.ring]
    last = max(others, key=lambda node: place(node, cloud.last.salt))
    cloud.tell(NodesKnown(frozenset())).wait(20).tell(NodesKnown(frozenset({last}))).wait(20)
    assert len(cloud.releases) == 1
    cloud.tell(NodesKnown(FLEET))
    assert cloud.ring == ring
    # Those that do not come back are waited for in vain only for a while.
    cloud.tell(NodesKnown(frozenset({last})))
    moment = due(cloud.rollout)
    assert moment == cloud.now + ABSENCE
    assert cloud.wait(ABSENCE).ring == [last]


# Going back


def test_nodes_that_go_back_abort_the_rollout() -> None:
    cloud = Cloud().tell(Begin(served(2)))
    failing = cloud.ring[: -(-len(cloud.ring) // 5)]
    cloud.report("reverted", failing[:-1], "slower").report("failed", failing[-1:], "does not load")
    assert cloud.last == msgspec.structs.replace(
        cloud.last, number=12, version=1, card=served(1).card, share=1.0, state="aborted", mode="live", before=None
    )
    assert "went back" in cloud.notes[-1]
    assert any("does not load" in note for note in cloud.notes)


WORSE = {
    "accuracy": {"accuracy": 0.75},
    "confidence": {"confidence": 0.6},
    "failed requests": {"errors": 60},
    "latency": {"bucket": 11},
}


@pytest.mark.parametrize("what", WORSE)
@pytest.mark.parametrize("compared", ["beside", "before"])
def test_a_worse_version_is_taken_back(what: str, compared: str) -> None:
    """Measured against those who serve the old one now, or, where nobody does, against what it did before."""
    cloud = Cloud()
    if compared == "before":
        cloud.count(1, **answers(1000))
    cloud.tell(Begin(served(2)))
    if compared == "beside":
        cloud.count(1, **answers(1000))
    cloud.count(2, **answers(1000))
    assert cloud.rollout.phase == "rolling"
    cloud.count(2, **answers(1000, **WORSE[what]))
    assert (cloud.last.state, cloud.last.card) == ("aborted", served(1).card)
    assert what in cloud.notes[-1]


def test_many_small_reports_are_one_large_one() -> None:
    cloud = Cloud().tell(Begin(served(2))).count(1, **answers(1000))
    for _ in range(99):
        cloud.count(2, **answers(8, accuracy=0.5))
    assert cloud.rollout.phase == "aborted"


def test_chance_takes_no_version_back() -> None:
    """Versions that are equally good, measured on few labels."""
    dice, aborted = random.Random(3), 0
    for _ in range(300):
        cloud = Cloud().tell(Begin(served(2)))
        for version in (1, 2):
            correct = sum(dice.random() < 0.9 for _ in range(60))
            cloud.count(version, answers=240, labels=60, correct=correct)
        aborted += cloud.rollout.phase == "aborted"
    assert aborted <= 9  # 1 % of them, and what the test's own luck adds


def test_little_says_nothing() -> None:
    cloud = Cloud().tell(Begin(served(2))).count(1, **answers(1000))
    cloud.count(2, answers=30, errors=30, labels=30, correct=0, confidence=1.0, confident=30)
    assert cloud.rollout.phase == "rolling"


def test_rules_of_zero_judge_by_the_first_answer() -> None:
    rules = RolloutPlan(thresholds=Thresholds(labels=0, answers=0, agreement=0.5))
    cloud = Cloud().tell(Begin(served(2), rules)).count(2, errors=0).count(1, answers=1).count(2, answers=1)
    assert cloud.rollout.phase == "rolling"
    assert cloud.count(2, compared=1).rollout.phase == "aborted"


def test_a_version_that_only_fails_is_found_out_without_a_version_before() -> None:
    cloud = Cloud(good=None).tell(Begin(served(1))).count(1, errors=300)
    assert cloud.last.state == "aborted"
    assert (cloud.last.width, cloud.last.card) == (0.0, served(1).card)


def test_a_paused_version_is_still_watched() -> None:
    cloud = Cloud().tell(Begin(served(2))).tell(Pause()).count(1, **answers(1000))
    assert cloud.count(2, **answers(1000, accuracy=0.5)).last.state == "aborted"


def test_drift_aborts_only_if_asked() -> None:
    cloud = Cloud().tell(Begin(served(2))).tell(DriftReported(2, 0.9))
    assert cloud.rollout.phase == "rolling"
    cloud = Cloud().tell(Begin(served(2), RolloutPlan(thresholds=Thresholds(psi=0.25))))
    assert cloud.tell(DriftReported(1, 0.9)).tell(DriftReported(2, 0.2)).rollout.phase == "rolling"
    assert cloud.tell(DriftReported(2, 0.3)).last.state == "aborted"


def test_latency_is_read_from_buckets() -> None:
    tally = Tally(latency=(0, 0, 100))
    assert BUCKETS[1] < tail_latency(tally) <= BUCKETS[2]
    assert tail_latency(Tally(latency=(95, 0, 5))) == BUCKETS[0]
    assert tail_latency(Tally(latency=(0,) * 20 + (10,))) > BUCKETS[-1]
    assert tail_latency(Tally()) == 0


def test_rollback_by_hand() -> None:
    cloud = Cloud().tell(Begin(served(2))).report("committed").wait(60).tell(Rollback(served(1)))
    assert (cloud.last.card, cloud.last.width, cloud.last.state) == (served(1).card, 1.0, "done")
    assert cloud.last.number == len(cloud.releases) + 10
    cloud.tell(Rollback(served(7)))
    assert (cloud.last.version, cloud.rollout.good) == (7, served(7))


# A version while another is on its way


def test_a_newer_version_supersedes_in_the_same_ring() -> None:
    cloud = Cloud().tell(Begin(served(2))).report("committed").wait(60)
    ring = cloud.ring
    cloud.report("reverted", ring[:3], "slower").tell(Begin(served(3)))
    assert "supersedes" in cloud.notes[-2]
    assert (cloud.last.card, cloud.last.before, cloud.ring) == (served(3).card, served(1).card, ring)
    cloud.wait(61)
    assert cloud.rollout.phase == "rolling"  # what the older one did is not held against it, nor for it
    assert cloud.last.number == 13
    cloud.report("committed").wait(60)
    assert cloud.last.width == 1.0


def test_a_newer_version_never_goes_to_all_at_once() -> None:
    cloud = Cloud().tell(Begin(served(2))).report("committed").wait(60).report("committed").wait(60)
    assert cloud.last.width == 1.0
    cloud.tell(Begin(served(3)))
    assert (cloud.last.width, cloud.last.before) == (0.05, served(1).card)
    assert cloud.last.salt != cloud.releases[0].salt


def test_the_same_beginning_twice_is_one() -> None:
    cloud = Cloud().tell(Begin(served(2))).tell(Begin(served(2)))
    assert len(cloud.releases) == 1


# Shadow


def test_a_shadow_goes_through_all_rings_and_ends() -> None:
    cloud = Cloud().tell(Begin(served(2), RolloutPlan(mode="shadow", rings=(0.5, 1.0))))
    assert (cloud.last.mode, cloud.last.width) == ("shadow", 0.5)
    cloud.report("shadowing").count(2, compared=100, agreed=97)
    cloud.wait(60).report("shadowing").wait(60)
    assert (cloud.last.mode, cloud.last.state, cloud.last.card) == ("live", "done", served(1).card)
    assert "97 of 100" in cloud.notes[-1]
    assert cloud.rollout.good == served(1)


def test_a_shadow_may_go_on_live_from_the_first_ring() -> None:
    cloud = Cloud().tell(Begin(served(2), RolloutPlan(mode="shadow", then_live=True, rings=(0.5, 1.0))))
    while cloud.last.mode == "shadow":
        cloud.report("shadowing").wait(60)
    assert (cloud.last.mode, cloud.last.state, cloud.last.width) == ("live", "rolling", 0.5)
    assert cloud.last.salt != cloud.releases[0].salt
    while cloud.rollout.phase == "rolling":
        cloud.report("committed").wait(60)
    assert cloud.rollout.good == served(2)


def test_a_shadow_that_disagrees_is_aborted_if_asked() -> None:
    cloud = Cloud().tell(Begin(served(2), RolloutPlan(mode="shadow", thresholds=Thresholds(agreement=0.9))))
    cloud.count(2, compared=500, agreed=400)
    assert (cloud.last.state, cloud.last.mode, cloud.last.card) == ("aborted", "live", served(1).card)


def test_a_shadow_needs_somebody_to_stand_beside() -> None:
    with pytest.raises(RolloutError, match="roll it out live"):
        Cloud(good=None).tell(Begin(served(1), RolloutPlan(mode="shadow")))


@pytest.mark.parametrize("wrong", [{"rings": ()}, {"rings": (0.5,)}, {"rings": (0.5, 0.2, 1.0)}, {"rings": (0.0, 1.0)}])
def test_a_plan_must_make_sense(wrong: Any) -> None:
    with pytest.raises(ValueError, match="rings"):
        RolloutPlan(**wrong)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(wrong), type=RolloutPlan)
    with pytest.raises(ValueError, match="ring_longest"):
        RolloutPlan(ring_seconds=5, ring_longest=5)


# Any order of events


def random_event(dice: random.Random, cloud: Cloud, versions: int) -> Event:
    node, version = f"press-{dice.randrange(12)}", dice.randrange(1, versions + 2)
    what: Any = dice.choice(
        ("probation", "committed", "committed", "committed", "reverted", "failed", "shadowing", "alarm")
    )
    number = cloud.rollout.number - dice.choice((0, 0, 0, 1, 5))
    plan = RolloutPlan(
        mode=dice.choice(("live", "live", "shadow")),
        then_live=dice.random() < 0.5,
        automatic=dice.random() < 0.8,
        rings=dice.choice(((0.05, 0.25, 1.0), (0.5, 1.0), (1.0,))),
        thresholds=Thresholds(psi=dice.choice((None, 0.2)), failure=dice.choice((0.2, 0.5))),
    )
    reported = Vitals(MODEL, version, Tally(**answers(dice.choice((10, 400)), dice.choice((0.9, 0.9, 0.6)))))
    commands: tuple[Event, ...] = (
        Begin(served(version), plan),
        Rollback(served(version)),
        Pause(),
        Resume(),
        Abort(),
        Advance(),
        DriftReported(version, dice.random() / 2),
        NodesKnown(frozenset(f"press-{number}" for number in range(dice.randrange(13)))),
        reported,
    )
    often: tuple[Event, ...] = (Tick(), Outcome(node, MODEL, number, version, what, "", cloud.now))
    return dice.choice(often if dice.random() < 0.75 else commands)


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_events_keeps_the_promises(seed: int) -> None:
    dice = random.Random(seed)
    cloud = Cloud([f"press-{number}" for number in range(dice.randrange(9))], good=dice.choice((None, served(1))))
    told: list[tuple[Event, float]] = []
    start = cloud.rollout
    for _ in range(250):
        cloud.now += dice.choice((0.0, 1.0, 40.0, 5000.0))
        event, before, released = random_event(dice, cloud, 5), cloud.rollout, len(cloud.releases)
        try:
            cloud.tell(event)
        except RolloutError:
            assert cloud.rollout == before
            continue
        told.append((event, cloud.now))
        assert len(cloud.releases) <= released + 1
        if len(cloud.releases) > released:
            kept_promises(before, cloud.releases)
        assert cloud.rollout.number == (cloud.last.number if cloud.releases else 10)
        # The state can be stored and gives the same again.
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(cloud.rollout), type=Rollout)
        assert stored == cloud.rollout
        assert handle(stored, Tick(), cloud.now + 60) == handle(cloud.rollout, Tick(), cloud.now + 60)
        moment = due(cloud.rollout)
        assert moment is None or handle(cloud.rollout, Tick(), moment).rollout != cloud.rollout
    replayed = start
    for event, now in told:
        replayed = handle(replayed, event, now).rollout
    assert replayed == cloud.rollout
    assert len(cloud.releases) > 3


def kept_promises(before: Rollout, releases: list[Release]) -> None:
    newest = releases[-1]
    assert newest.number == before.number + 1
    if len(releases) > 1 and releases[-2].salt == newest.salt and newest.state != "aborted":
        assert newest.share >= releases[-2].share
    if newest.state == "aborted" and before.good is not None:
        assert (newest.card, newest.version, newest.share) == (before.good.card, before.good.version, 1.0)
        assert (newest.mode, newest.before) == ("live", None)
    if newest.state == "aborted" and before.good is None:
        assert newest.share == 0.0
    if newest.state == "done":
        assert (newest.share, newest.mode) == (1.0, "live")
    if newest.state in ("rolling", "paused"):
        assert newest.before == (before.good.card if before.good else None)


# After a restore of the cloud


def test_after_a_restore_releases_go_on_above_all_numbers() -> None:
    cloud = Cloud().tell(Begin(served(2)))
    ring = cloud.ring
    cloud.report("committed", ring[:1])
    before = cloud.rollout
    cloud.tell(CloudRestored(5000))
    assert cloud.last.number == 5001
    assert (cloud.ring, cloud.last.card) == (ring, served(2).card), "the same nodes, told anew"
    cloud.tell(Outcome(ring[0], MODEL, before.number, 2, "committed", "", cloud.now))
    assert cloud.rollout.successes == 0, "what was said of a lost release does not count"
    cloud.report("committed").wait(60)
    assert cloud.last.number == 5002
    assert cloud.last.width > before.release().width  # type: ignore[union-attr]


def test_after_a_restore_nobody_is_moved_without_a_release() -> None:
    cloud = Cloud().tell(CloudRestored(5000))
    assert cloud.releases == []
    assert cloud.tell(Begin(served(2))).last.number == 5001
    assert Cloud().tell(CloudRestored(3)).rollout.number == 10, "numbers never go back"
