"""Aggregators between the root and the devices."""

from __future__ import annotations

import pytest

from fogline.nodes.effects import Adopt, Merge, SetTimer
from fogline.nodes.events import Halt
from fogline.nodes.messages import Receipt, Report
from tests.nodes.driver import Driver


def test_a_merging_fog_makes_one_round_and_one_report() -> None:
    fog = Driver(rounds=1, parent="up").start("a", "b")
    assert not fog.asked
    assert fog.work(3).asked == ["a", "b"]
    fog.answer("b").answer("a")
    assert fog.of(Merge)[0].update == "up#3"
    assert fog.folded == [("a", 0), ("b", 0)]
    assert fog.reports == [Report(3, "up#3", samples=20, devices=2)]
    assert not fog.forgotten & {"me#0", "me#1"}


def test_childrens_updates_are_forgotten_with_the_parents_receipt_and_not_before() -> None:
    fog = Driver(rounds=1, parent="up").start("a").work(0).answer("a")
    assert fog.fire("retry", after=5.0).reports == [Report(0, "up#0", samples=10)]
    assert fog.hear("up", Receipt(0, accepted=True)).forgotten == {"me#0", "up#0"}
    assert not fog.fire("retry", after=5.0).effects


def test_it_sends_again_ever_more_slowly_as_a_device_does() -> None:
    fog = Driver(rounds=1, parent="up").start("a").work(0).answer("a")
    waits = [timer.at - fog.now for timer in fog.of(SetTimer) if timer.timer == "retry"]
    for _ in range(6):
        waits += [timer.at - fog.now for timer in fog.fire("retry").of(SetTimer)]
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_a_report_that_the_parent_refuses_is_counted_with_all_in_it() -> None:
    fog = Driver(rounds=1, parent="up").start("a", "b").work(0).answer("a").answer("b")
    fog.hear("up", Receipt(0, accepted=False))
    assert fog.counts == ["dropped"]
    assert fog.node.ledger.dropped["refused above"] == 2


def test_a_request_is_answered_once() -> None:
    fog = Driver(rounds=1, parent="up").start("a").work(0).answer("a").hear("up", Receipt(0, accepted=True))
    assert not fog.join("b").effects
    assert not fog.work(0).effects


def test_a_moving_fog_adopts_moves_and_makes_one_update() -> None:
    fog = Driver(rounds=2, parent="up").start("a").work(0)
    assert fog.of(Adopt) == [Adopt("up@0", None, "me@0")]
    assert fog.answer("a").moved
    assert not fog.made_group_update
    assert fog.answer("a").made_group_update
    assert fog.reports == [Report(0, "up#0", samples=10, devices=1)]  # The same device twice.
    assert fog.work(1, "up@1").of(Adopt) == [Adopt("up@1", "me@2", "me@3")]


def test_a_group_model_moves_with_one_round_as_well() -> None:
    fog = Driver(rounds=1, parent="up", group_models=True).start("a").work(0).answer("a")
    assert fog.moved
    assert fog.made_group_update


def test_a_fog_whose_round_failed_says_so_and_keeps_what_came() -> None:
    fog = Driver(rounds=1, parent="up", quorum=1.0).start("a", "b").work(0).answer("a")
    fog.fire("deadline/0", after=100.0)
    assert [(report.update, bool(report.failure)) for report in fog.reports] == [(None, True)]
    fog.work(1, "up@1").answer("a").answer("b")
    assert fog.folded == [("a", 1), ("a", 0), ("b", 0)]


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_superseded_rounds_updates_are_carried_into_the_next_report(rounds: int) -> None:
    fog = Driver(rounds=rounds, parent="up", quorum=1).start("a", "b").work(0).answer("a")
    fog.work(1, "up@1")
    assert fog.asked == ["a", "b"]
    fog.answer("b").answer("a")
    assert fog.folded == [("a", 1), ("a", 0), ("b", 0)]


def test_what_had_moved_the_replaced_model_is_folded_again() -> None:
    fog = Driver(rounds=2, parent="up").start("a").work(0).answer("a")
    assert fog.moved
    fog.work(1, "up@1").answer("a")
    # The first update went into me@1, which up@1 replaced: it is two versions old.
    assert fog.folded == [("a", 2), ("a", 0)]
    fog.answer("a")
    assert fog.hear("up", Receipt(1, accepted=True)).forgotten == {"me#0", "me#2", "me#3", "up#1"}


def test_an_older_request_does_not_replace_a_newer_one() -> None:
    fog = Driver(rounds=1, parent="up").start("a").work(5)
    assert not fog.work(4).effects
    assert fog.answer("a").reports[0].task == 5


def test_a_fog_without_children_answers_when_its_time_is_up() -> None:
    fog = Driver(rounds=1, parent="up").start().work(0)
    assert fog.timers == {"open/0": 60.0}
    fog.fire("open/0", after=60.0)
    fog.fire("open/0", after=40.0)
    assert fog.counts == ["abandoned"]
    assert fog.reports[0].failure is not None


def test_an_async_fogs_children_train_on_between_the_parents_requests() -> None:
    fog = Driver("async", rounds=1, buffer=1, cohort=2, parent="up").start("a", "b").work(0)
    assert fog.answer("a").made_group_update
    assert fog.answer("b").receipts == {"b": True}
    fog.work(1, "up@1")
    assert fog.folded == [("b", 2)]
    assert fog.made_group_update


def test_reports_without_a_receipt_are_sent_again_after_a_crash() -> None:
    fog = Driver(rounds=1, parent="up").start("a").work(0).answer("a")
    assert fog.crash().start().reports == [Report(0, "up#0", samples=10)]


def test_a_halted_fog_says_so() -> None:
    fog = Driver(rounds=1, parent="up").start("a").work(0).give(Halt()).work(1, "up@1")
    assert fog.reports == [Report(1, None, failure="it was halted")]
    assert not fog.asked
