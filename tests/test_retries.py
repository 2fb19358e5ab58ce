"""The waits between attempts."""

from __future__ import annotations

from fogline.retries import Backoff, Failures


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    failures = Failures(Backoff(first=0.5, longest=3.0))
    assert [failures.another() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    failures.over()
    assert failures.another() == 0.5


def test_two_that_fail_together_do_not_come_back_together() -> None:
    waits = {Failures(Backoff(2.0, 8.0, least=0.5)).another() for _ in range(20)}
    assert len(waits) > 1
    assert all(1.0 <= wait <= 2.0 for wait in waits)


def test_a_node_that_fails_for_years_still_gets_a_number() -> None:
    assert Backoff(5.0, 60.0).after(10**6) == 60.0
