"""Accountants: upper bounds, and close ones; beside closed forms, numeric integrals and dp-accounting's figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.privacy.accounting.accountants import delta, epsilon, least_noise, most_rounds
from fogline.privacy.accounting.events import UNITS, AccountantName, Concentrated, Event, Gaussian, Repeated, Sampled
from fogline.privacy.accounting.renyi import ORDERS, of_sample
from fogline.privacy.accounting.tally import EventTally, tally

NAMES: tuple[AccountantName, ...] = ("pld", "rdp", "zcdp")
ROUNDING = 1 + 1e-9


def steps(noise: float, rate: float, times: int) -> list[Event]:
    return [Repeated(Sampled(rate, Gaussian(noise)), times)]


def phi(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def gaussian_delta(noise: float, at: float) -> float:
    """Balle and Wang, 2018, theorem 8."""
    return phi(0.5 / noise - at * noise) - math.exp(at) * phi(-0.5 / noise - at * noise)


@pytest.mark.parametrize(
    ("noise", "rate", "times", "at", "rdp", "pld"),
    [
        (1.1, 0.01, 1000, 1e-5, 1.71177, 1.51537),
        (0.7, 0.01, 500, 1e-8, 6.66417, 5.82592),
        (10, 1, 100, 1e-5, 4.72851, 4.37718),
    ],
)
def test_figures_of_dp_accounting(noise: float, rate: float, times: int, at: float, rdp: float, pld: float) -> None:
    events = steps(noise, rate, times)
    assert epsilon(events, at, "rdp") == pytest.approx(rdp, rel=1e-4)
    assert epsilon(events, at, "pld") == pytest.approx(pld, rel=1e-3)


@pytest.mark.parametrize(("noise", "rate"), [(2.0, 0.3), (0.8, 0.02), (5.0, 0.9)])
def test_divergences_are_those_of_a_numeric_integral(noise: float, rate: float) -> None:
    """Also of orders between whole numbers, where a series says it."""
    z = np.linspace(-90 * noise, 90 * noise, 200_001)
    without = -0.5 * (z / noise) ** 2
    loss = np.log1p(rate * np.expm1(np.minimum((2 * z - 1) / (2 * noise**2), 700.0)))
    for order, found in list(zip(ORDERS.tolist(), of_sample(rate, noise).tolist(), strict=True))[:120:13]:
        exact = np.logaddexp.reduce(without + order * loss) - np.logaddexp.reduce(without)
        assert 0 <= found * (order - 1) / exact - 1 + 1e-8 < 1e-5, order


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0, 80.0])
@pytest.mark.parametrize("at", [1e-3, 1e-5, 1e-9])
def test_gaussian_noise_has_a_closed_form(noise: float, at: float) -> None:
    times = 7
    found = epsilon([Repeated(Gaussian(noise * math.sqrt(times)), times)], at)
    exact = gaussian_delta(noise, found)
    assert exact <= at * ROUNDING  # An upper bound,
    assert gaussian_delta(noise, found * 0.997) > at or found == 0  # and no more than that.


@pytest.mark.parametrize(("noise", "rate"), [(0.6, 0.3), (1.0, 0.05), (3.0, 0.5)])
@pytest.mark.parametrize("at", [0.05, 0.3, 1.0])
def test_one_sample_has_a_closed_form(noise: float, rate: float, at: float) -> None:
    """Taking the unit out of the sample of rate q is q times the Gaussian curve at another ε."""
    exact = rate * gaussian_delta(noise, math.log1p(math.expm1(at) / rate))
    found = delta(steps(noise, rate, 1), at)
    assert exact * (1 - 1e-9) <= found <= exact * 1.02 + 1e-12


def test_two_samples_by_a_numeric_integral() -> None:
    noise, rate, at = 1.0, 0.2, 0.7
    z = np.linspace(-8, 9, 1201)
    here = (1 - rate) * np.exp(-z * z / 2) + rate * np.exp(-((z - 1) ** 2) / 2)
    here /= here.sum()
    loss = np.log1p(rate * np.expm1(z - 0.5))
    both = np.maximum(0.0, -np.expm1(at - loss[:, None] - loss[None, :]))
    exact = float((here[:, None] * here[None, :] * both).sum())
    found = delta(steps(noise, rate, 2), at)
    assert exact * 0.999 <= found <= exact * 1.01


FIGURES = {
    "noise": st.floats(0.4, 20),
    "rate": st.sampled_from([0.003, 0.02, 0.1, 0.4, 1.0]),
    "times": st.integers(1, 400),
    "at": st.sampled_from([1e-3, 1e-5, 1e-8]),
}


@settings(max_examples=3, deadline=None)
@given(**FIGURES)
def test_more_noise_fewer_steps_and_rarer_samples_cost_less(noise: float, rate: float, times: int, at: float) -> None:
    for name in NAMES:
        most = epsilon(steps(noise, rate, times), at, name) * 1.002 + 1e-9  # Grids differ a little.
        assert epsilon(steps(1.3 * noise, rate, times), at, name) <= most
        assert epsilon(steps(noise, rate / 2, times), at, name) <= most
        assert epsilon(steps(noise, rate, max(1, times // 2)), at, name) <= most


@settings(max_examples=4, deadline=None)
@given(**FIGURES)
def test_the_sharper_accountant_says_less_and_delta_is_the_way_back(
    noise: float, rate: float, times: int, at: float
) -> None:
    events = steps(noise, rate, times)
    pld, rdp, zcdp = (epsilon(events, at, name) for name in NAMES)
    assert pld <= rdp * ROUNDING
    assert rdp <= zcdp * 1.001
    for name, found in zip(NAMES, (pld, rdp, zcdp), strict=True):
        if 0 < found < 50:
            assert delta(events, found * 1.0001, name) <= at * 1.001
            assert delta(events, found * 0.9, name) > at


def test_a_very_small_delta_is_not_lost_in_rounding() -> None:
    """Without tilting, the mass of the tail would be far below what a transform rounds away."""
    found = epsilon([Gaussian(0.5)], 1e-20)
    assert gaussian_delta(0.5, found) <= 1e-20 * 1.001
    assert gaussian_delta(0.5, found * 0.995) > 1e-20


@pytest.mark.parametrize("name", NAMES)
def test_nothing_everything_and_what_cannot_be(name: AccountantName) -> None:
    assert epsilon([], 1e-5, name) == 0
    assert epsilon([Repeated(Gaussian(1.0), 0), Sampled(0.0, Gaussian(1.0))], 1e-5, name) == 0
    assert epsilon([Gaussian(0.0)], 1e-5, name) == math.inf
    assert delta([Gaussian(0.0)], 3.0, name) == 1.0
    with pytest.raises(ValueError, match=r"delta is 0\.0; it must be above 0 and below 1"):
        epsilon([Gaussian(1.0)], 0.0, name)
    with pytest.raises(ValueError, match=r"noise of an event is -1\.0"):
        epsilon([Gaussian(-1.0)], 1e-5, name)


def test_what_is_drawn_once_and_used_often_is_drawn_once() -> None:
    """Four looks at one sample are one look with half the noise, and not four samples, which would cost less."""
    once = Sampled(0.1, Repeated(Gaussian(2.0), 4))
    assert tally([once]) == EventTally(sampled={(0.1, 1.0): 1})
    assert tally([Sampled(0.5, Sampled(0.2, Gaussian(1.0)))]) == EventTally(sampled={(0.1, 1.0): 1})
    assert tally([Sampled(0.1, Repeated(Sampled(0.5, Gaussian(1.0)), 3))]) == EventTally(sampled={(0.5, 1.0): 3})
    assert tally([Repeated(Concentrated(0.1), 5), Sampled(0.1, Concentrated(0.5))]).rho == pytest.approx(1.0)
    assert epsilon([once], 1e-5) > 2 * epsilon(steps(2.0, 0.1, 4), 1e-5)


@given(st.lists(st.sampled_from([Gaussian(2.0), *steps(1.0, 0.1, 3), Concentrated(0.3)]), max_size=5))
def test_a_tally_written_as_events_is_the_same_tally(events: list[Event]) -> None:
    whole = tally(events)
    again = tally(whole.events())
    assert again.sampled == whole.sampled
    assert (again.precision, again.rho) == pytest.approx((whole.precision, whole.rho))


def test_concentrated_events_among_others_are_counted_too() -> None:
    alone, both = [Gaussian(2.0)], [Gaussian(2.0), Concentrated(0.1)]
    for name in NAMES:
        assert epsilon(both, 1e-5, name) > epsilon(alone, 1e-5, name)
    # What a Gaussian sum gives away is at most what its concentration says.
    assert epsilon([Concentrated(1 / 8)], 1e-5) >= epsilon([Gaussian(2.0)], 1e-5)


@pytest.mark.parametrize(("wanted", "rate", "times"), [(4.0, 1.0, 100), (1.0, 0.1, 50), (8.0, 1.0, 1)])
def test_the_least_noise_is_enough_and_a_little_less_is_not(wanted: float, rate: float, times: int) -> None:
    noise = least_noise(lambda noise: steps(noise, rate, times), wanted, 1e-5)
    assert epsilon(steps(noise, rate, times), 1e-5) <= wanted
    assert epsilon(steps(0.99 * noise, rate, times), 1e-5) > wanted


@given(st.integers(0, 50), st.integers(1, 50))
def test_most_rounds_are_the_last_that_fit(last: int, most: int) -> None:
    assert most_rounds(lambda count: count <= last, most) == min(last, most)


def test_units_go_from_small_to_large() -> None:
    assert UNITS == ("example", "device", "site")
