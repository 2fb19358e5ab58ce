"""Synchronous rounds at the root."""

from __future__ import annotations

import pytest

from fogline.nodes.effects import Send
from fogline.nodes.events import Halt
from fogline.nodes.messages import Receipt, Report, Stop, Work, update_key
from tests.nodes.driver import Driver, InOrder


def test_a_round_closes_when_all_have_answered_and_the_next_begins() -> None:
    root = Driver(rounds=2).start("a", "b")
    assert root.asked == ["a", "b"]
    assert root.timers == {"deadline/0": 100.0}
    assert not root.answer("b").moved
    assert root.receipts == {"b": True}
    root.answer("a")
    assert root.folded == [("a", 0), ("b", 0)]  # In the order of the requests, not of the answers.
    assert root.asked == ["a", "b"]
    assert not root.answer("a").finished
    assert root.answer("b").finished


def test_updates_are_forgotten_only_after_the_move_is_written() -> None:
    root = Driver().start("a").answer("a")
    kinds = [type(effect).__name__ for effect in root.effects]
    last_write = max(i for i, kind in enumerate(kinds[: kinds.index("Forget")]) if kind == "Write")
    assert kinds.index("Write") < kinds.index("Send")  # On disk before it is acknowledged.
    assert kinds.index("Move") < last_write < kinds.index("Forget")
    assert "me#0" in root.forgotten


def test_over_selection_closes_at_the_first_cohorts_worth() -> None:
    root = Driver(cohort=2, over_selection=1.5).start("a", "b", "c", "d")
    assert root.asked == ["a", "b", "c"]
    root.answer("c").answer("b")
    assert root.folded == [("b", 0), ("c", 0)]
    root.answer("a", task=0)
    assert root.receipts == {"a": False}
    assert root.counts == ["surplus"]


def test_an_answer_after_the_deadline_is_late_also_with_over_selection() -> None:
    root = Driver(cohort=2, over_selection=1.5, quorum=1).start("a", "b", "c", "d")
    root.answer("a").fire("deadline/0", after=100.0).answer("b", task=1)
    assert root.counts == ["late"]


def test_over_selection_rounds_up_the_product_and_not_its_error() -> None:
    root = Driver(cohort=10, over_selection=1.1).start(*(f"d{i:02}" for i in range(20)))
    assert len(root.asked) == 11


def test_a_quorum_suffices_at_the_deadline() -> None:
    root = Driver(quorum=0.5).start("a", "b", "c", "d").answer("a").answer("b")
    assert root.fire("deadline/0", after=100.0).moved
    assert root.folded == [("a", 0), ("b", 0)]


def test_a_round_below_its_quorum_is_abandoned_and_what_came_is_carried() -> None:
    root = Driver(quorum=0.5).start("a", "b", "c", "d").answer("a")
    root.fire("deadline/0", after=100.0)
    assert not root.moved
    assert root.counts == ["abandoned"]
    assert root.asked == ["a", "b", "c", "d"]
    for child in "abcd":
        root.answer(child)
    assert root.folded == [("a", 0), ("a", 0), ("b", 0), ("c", 0), ("d", 0)]
    assert (root.node.ledger.rounds_done, root.node.ledger.rounds_lost) == (2, 1)
    root.fire("deadline/0", after=100.0)
    assert (root.node.ledger.rounds_done, root.node.ledger.rounds_lost) == (3, 2)


def test_rounds_after_the_last_that_counted_are_not_lost_where_the_job_was_ended() -> None:
    root = Driver(rounds=9).start("a").answer("a")
    root.fire("deadline/0", after=100.0)
    root.give(Halt())
    assert (root.node.ledger.rounds_done, root.node.ledger.rounds_lost) == (2, 0)


def test_where_devices_are_protected_a_round_that_does_not_count_leaves_nothing_to_the_next() -> None:
    root = Driver(quorum=0.5, private=True).start("a", "b", "c", "d").answer("a")
    root.fire("deadline/0", after=100.0)
    assert root.counts == ["unfinished", "abandoned"]
    assert "me#0" in root.forgotten
    for child in "abcd":
        root.answer(child)
    assert root.folded == [("a", 0), ("b", 0), ("c", 0), ("d", 0)]


def test_the_job_ends_also_when_nobody_ever_answers() -> None:
    root = Driver(rounds=3).start("a")
    for _ in range(2):
        assert not root.fire("deadline/0", after=100.0).finished
    assert root.fire("deadline/0", after=100.0).finished


def test_a_failure_is_counted_and_the_round_goes_on_without_it() -> None:
    root = Driver().start("a", "b").answer("a", failure="no battery")
    assert root.counts == ["failed"]
    assert root.receipts == {"a": False}
    assert root.answer("b").folded == [("b", 0)]


def test_a_round_ends_at_once_when_all_have_failed() -> None:
    root = Driver().start("a").answer("a", failure="no battery")
    assert root.counts == ["failed", "abandoned"]
    assert root.asked == ["a"]


@pytest.mark.parametrize("late", ["fold", "drop"])
def test_a_late_update_is_folded_or_dropped(late: str) -> None:
    root = Driver(late=late, quorum=1).start("a", "b").answer("a").fire("deadline/0", after=100.0)
    root.answer("b", task=1)
    assert root.receipts == {"b": late == "fold"}
    assert root.counts == ([] if late == "fold" else ["late"])
    assert root.node.ledger.dropped["late"] == (late == "drop")
    root.answer("a").answer("b")
    assert root.folded == ([("b", 1)] if late == "fold" else []) + [("a", 0), ("b", 0)]


def test_who_dropped_out_is_asked_again() -> None:
    root = Driver(quorum=1).start("a", "b").answer("a")
    assert root.fire("deadline/0", after=100.0).asked == ["a", "b"]
    assert root.answer("a").answer("b").folded == [("a", 0), ("b", 0)]


def test_who_was_given_up_is_told_to_the_policy_as_a_failure() -> None:
    policy = InOrder()
    Driver(quorum=1, policy=policy).start("a", "b").answer("a", after=7.0).fire("deadline/0", after=93.0)
    assert [(child, told.failed, told.seconds) for child, told in policy.told] == [
        ("a", False, 7.0),
        ("b", True, 100.0),
    ]


def test_a_copy_of_a_report_counts_once_and_gets_its_receipt_again() -> None:
    root = Driver().start("a", "b").answer("a")
    again = root.answer("a", task=0)
    assert again.receipts == {"a": True}
    assert not root.node.expects("a", 0)
    assert root.answer("b").folded == [("a", 0), ("b", 0)]
    assert root.answer("a", task=0).receipts == {"a": True}


def test_a_refusal_is_repeated_however_late() -> None:
    root = Driver(rounds=50, quorum=1, staleness_cap=2).start("a", "b")
    for _ in range(10):
        root.answer("a").fire("deadline/0", after=100.0)
    assert root.answer("b", task=1).receipts == {"b": False}
    assert root.answer("a", task=0).receipts == {"a": True}
    assert root.node.ledger.dropped["unanswered"] > 0


def test_nobody_answers_for_another() -> None:
    root = Driver().start("a", "b")
    root.answer("b", task=0)
    assert root.counts == ["refused"]
    assert not root.of(Send)
    assert not root.node.expects("b", 0)
    assert root.answer("a").receipts == {"a": True}


def test_nobody_names_anothers_update_as_its_own() -> None:
    root = Driver().start("a", "b", "c").answer("a")
    root.hear("b", Report(1, update_key("me", 0), samples=1))
    assert root.counts == ["refused"]
    assert root.forgotten == {"me#1"}
    assert root.answer("c").folded == [("a", 0), ("c", 0)]


@pytest.mark.parametrize("task", [-1, 17])
def test_an_answer_to_nothing_is_refused(task: int) -> None:
    root = Driver().start("a").hear("a", Report(task, update_key("me", task)))
    assert root.counts == ["refused"]
    assert not root.receipts


def test_messages_of_a_parent_count_only_from_the_parent() -> None:
    root = Driver().start("a")
    for message in (Stop(), Work(5, "a@0", 0), Receipt(0, accepted=True)):
        assert not root.hear("a", message).effects


def test_a_child_that_leaves_is_not_waited_for_if_the_quorum_is_there() -> None:
    root = Driver(quorum=0.5).start("a", "b").answer("a").leave("b")
    assert root.counts == ["left"]
    assert root.folded == [("a", 0)]
    assert root.asked == ["a"]


def test_a_child_that_comes_back_is_asked_the_same_again_and_counts() -> None:
    root = Driver(quorum=1.0).start("a", "b").leave("b").answer("a")
    assert not root.moved
    root.join("b")
    assert [(send.to, send.message.task) for send in root.of(Send)] == [("b", 1)]
    assert root.answer("b").folded == [("a", 0), ("b", 0)]


def test_the_root_begins_when_somebody_comes() -> None:
    root = Driver().start()
    assert not root.asked
    assert not root.timers
    assert root.join("a").asked == ["a"]


def test_with_gathering_the_first_round_waits_for_more() -> None:
    root = Driver(join_window=2.0).start().join("a")
    assert root.timers == {"open/0": 2.0}
    assert not root.join("b").effects  # Those who come do not put it off.
    assert root.fire("open/0", after=2.0).asked == ["a", "b"]


def test_a_wait_for_children_that_cannot_be_asked_has_a_deadline() -> None:
    root = Driver(rounds=1, presence=lambda child, now: False).start("a")
    assert root.timers == {"open/0": 60.0}
    assert root.fire("open/0", after=60.0).timers == {"open/0": 100.0}
    root.fire("open/0", after=40.0)
    assert root.counts == ["abandoned"]
    assert root.finished


def test_after_the_end_nothing_is_accepted_and_all_are_told() -> None:
    root = Driver().start("a").give(Halt())
    assert root.finished
    assert root.answer("a", task=0).receipts == {"a": False}
    assert Stop() in [send.message for send in root.of(Send)]
    assert [send.message for send in root.join("b").of(Send)] == [Stop()]


def test_old_models_are_given_up_unless_a_request_may_still_count() -> None:
    root = Driver(rounds=9, quorum=1, late="fold", staleness_cap=3).start("a", "b")
    gone: list[str] = []
    for _ in range(6):
        root.answer("a").fire("deadline/0", after=100.0)
        gone += sorted(key for key in root.forgotten if "@" in key)
    # The child b still may answer with the models up to three versions old.
    assert gone == ["me@0", "me@1"]
    assert root.node.keys() == {f"me@{version}" for version in range(2, 7)}
