"""Reputation and quarantine of an aggregator's children, by hand and by formula."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fogline.jobs.tree import Quarantine
from fogline.nodes.children.reputation import Reputation
from fogline.nodes.effects import Count
from fogline.nodes.events import Scored, Started
from fogline.nodes.records import Rated
from tests.nodes.driver import Driver

CHILDREN = ("a", "b", "c", "d", "e")
TERMS = Quarantine(memory=0.5, rounds=2)


def play(driver: Driver, bad: str = "a") -> list[str]:
    """A round in which all that were asked answer, and the rule leaves one out; who was asked next."""
    asked = list(driver.node.ledger.busy)
    for child in asked:
        driver.answer(child, after=1.0)
    following = driver.asked
    driver.give(Scored(tuple((child, 0.0 if child == bad else 1.0) for child in asked)))
    return following


def begun(**more: object) -> Driver:
    return Driver(rounds=20, quarantine=TERMS, quorum=1.0, **more).start(*CHILDREN)


def test_who_is_left_out_again_and_again_is_not_asked_for_some_rounds() -> None:
    driver = begun()
    assert set(play(driver)) == set(CHILDREN)
    assert "quarantined" not in driver.counts
    assert set(play(driver)) == set(CHILDREN)  # Asked before the round's scores are known.
    assert driver.counts == ["quarantined"]
    assert driver.whys == ["after 2 rounds its reputation fell to 0.25, below 0.5; it is not asked for 2 rounds"]
    assert set(play(driver)) == set(CHILDREN) - {"a"}
    assert set(play(driver)) == set(CHILDREN) - {"a"}
    asked = play(driver)
    assert set(asked) == set(CHILDREN)
    assert "released" in [effect.what for effect in driver.history if isinstance(effect, Count)]
    play(driver, bad="b")
    assert driver.node.ledger.reputation is not None
    assert driver.node.ledger.reputation.of["a"] == 0.75  # It was asked again with 0.5, and was right.


def test_one_bad_round_on_trial_is_enough() -> None:
    driver = begun()
    for _ in range(5):
        play(driver)
    play(driver)
    assert driver.counts == ["quarantined"]


def test_a_crash_keeps_reputations_and_tells_again_who_is_cut_off() -> None:
    driver = begun()
    for _ in range(3):
        play(driver)
    before = driver.node.ledger.reputation
    assert before is not None
    driver.crash().give(Started())
    after = driver.node.ledger.reputation
    assert after is not None
    assert (after.of, after.barred, after.round) == (before.of, before.barred, before.round)
    assert driver.counts == ["quarantined"]
    for child in CHILDREN:
        driver.join(child)
    assert set(play(driver)) == set(CHILDREN) - {"a"}


def test_who_comes_back_is_still_cut_off() -> None:
    driver = begun()
    for _ in range(3):
        play(driver)
    driver.leave("a").join("a")
    assert "a" not in play(driver)


def test_where_no_rule_is_asked_nothing_is_written() -> None:
    driver = Driver(rounds=3).start(*CHILDREN)
    driver.give(Scored((("a", 0.0),)))
    assert not driver.effects
    begun().give(Scored(()))
    assert not any(isinstance(record, Rated) for record in driver.journal)


SCORES = st.lists(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6), min_size=1, max_size=30)


@given(SCORES, st.floats(0.0, 0.95), st.floats(0.05, 0.95), st.integers(0, 4), st.integers(1, 5), st.integers(1, 7))
def test_reputation_is_the_formula_and_no_more_are_cut_off_than_may_lie(
    rounds: list[list[float]], memory: float, below: float, length: int, most: int, needed: int
) -> None:
    reputation = Reputation(Quarantine(memory=memory, below=below, rounds=length, most=most), needed)
    expected = dict.fromkeys("abcdef", 1.0)
    most = max(0, min(most, 2, 6 - needed))  # Fewer than half, and enough are left for a round.
    for scores in rounds:
        out = set(reputation.barred)
        reputation.close_round()
        for child in out - set(reputation.barred):
            expected[child] = below
        asked = [(child, score) for child, score in zip("abcdef", scores, strict=True) if child not in out]
        trial, free = set(reputation.trial), most - len(reputation.barred) - len(reputation.trial)
        reputation.judge(asked)
        least = sorted((score, expected[child], child) for child, score in asked if child not in trial)
        counted = trial | {child for *_, child in least[: max(0, free)]}
        for child, score in asked:
            expected[child] = memory * expected[child] + (1.0 - memory) * (score if child in counted else 1.0)
            assert reputation.of[child] == expected[child]
        assert len(reputation.barred) <= most
        assert all(reputation.of[child] < below for child in reputation.barred)
        if length == 0:
            assert out <= set(reputation.barred)
