"""A node that went back to a backup asks for nothing under a number that a child knows already."""

from __future__ import annotations

import pytest

from fogline.nodes.effects import Count, Send
from fogline.nodes.events import Joined
from fogline.nodes.ledger import FAR_OFF
from fogline.nodes.messages import Hello, Work
from tests.nodes.driver import Driver


def asked(driver: Driver, child: str) -> list[int]:
    """Numbers under which a child was asked just now."""
    return [
        e.message.task for e in driver.effects if isinstance(e, Send) and e.to == child and isinstance(e.message, Work)
    ]


@pytest.mark.parametrize("parent", [None, "up"])
def test_what_was_answered_before_is_asked_anew_under_later_numbers(parent: str | None) -> None:
    driver = Driver(parent=parent, rounds=1).start("a", "b")
    if parent:
        driver.work(0)
    before = dict(driver.node.ledger.busy)
    assert before == {"a": 0, "b": 1}
    driver.leave("a").leave("b")
    driver.give(Joined("a", Hello(task=40)))
    assert asked(driver, "a") == [41]
    assert any(isinstance(effect, Count) and effect.what == "forgotten" for effect in driver.effects)
    driver.give(Joined("b", Hello(task=39)))
    assert asked(driver, "b") == [42]
    driver.answer("a").answer("b")
    assert driver.node.ledger.rounds_done == 1, "no round is lost"
    assert driver.node.ledger.dropped == {"forgotten": 2}


def test_it_survives_a_crash() -> None:
    driver = Driver(rounds=3).start("a")
    driver.leave("a").give(Joined("a", Hello(task=40)))
    again = driver.crash()
    assert again.node.ledger.next_task == 42


def test_who_comes_back_in_time_is_asked_the_same_again() -> None:
    driver = Driver(rounds=1).start("a", "b")
    driver.leave("a").give(Joined("a", Hello(task=0)))
    assert asked(driver, "a") == [0]
    driver.leave("b").give(Joined("b", Hello(task=-1)))
    assert asked(driver, "b") == [1]


def test_a_number_that_cannot_be_moves_nothing() -> None:
    driver = Driver(rounds=1).start("a", "b")
    for far in (FAR_OFF, 2**53):
        driver.leave("a").give(Joined("a", Hello(task=far)))
        assert driver.node.ledger.next_task < 100
