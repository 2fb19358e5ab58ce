"""The waits between attempts."""

from __future__ import annotations

from fogline.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(first=0.5, longest=3.0)
    assert [backoff.after(failures) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_node_that_fails_for_years_still_gets_a_number() -> None:
    assert Backoff(5.0, 60.0).after(10**6) == 60.0
