"""Promises in Rényi divergences, and what (ε, δ) they come to.

The accountants ``rdp`` (Mironov, 2017; of samples: Mironov, Talwar, Zhang, 2019) and ``zcdp`` (Bun, Steinke, 2016),
with the conversion of Canonne, Kamath, Steinke (2020), proposition 12.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fogline.privacy.accounting.tally import EventTally

Array = npt.NDArray[np.float64]
WHOLE = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
ORDERS: Array = np.array(sorted({*WHOLE, *(1 + step / 10 for step in range(1, 100) if step % 10)}), float)
"""Of the divergences that are looked at where there are samples."""
FINE: Array = 1 + np.geomspace(1e-4, 1e7, 5000)
"""Where there are none, which costs nothing."""
TERMS = 200
"""Of the series for orders between whole numbers."""


def rdp_epsilon(total: EventTally, delta: float) -> float:
    """ε by Rényi divergences."""
    return epsilon_of(*_rdp(total), delta)


def rdp_delta(total: EventTally, epsilon: float) -> float:
    """δ by Rényi divergences."""
    return delta_of(*_rdp(total), epsilon)


def zcdp_epsilon(total: EventTally, delta: float) -> float:
    """ε by zero-concentrated differential privacy, which takes no notice of samples."""
    return rdp_epsilon(total.unsampled, delta)


def zcdp_delta(total: EventTally, epsilon: float) -> float:
    """δ by zero-concentrated differential privacy, which takes no notice of samples."""
    return rdp_delta(total.unsampled, epsilon)


def _rdp(total: EventTally) -> tuple[Array, Array]:
    """Orders, and the divergence of each."""
    orders = ORDERS if total.sampled else FINE
    divergences = orders * (total.precision / 2 + total.rho)
    for (rate, noise), times in total.sampled.items():
        divergences = divergences + times * of_sample(rate, noise)
    return orders, divergences


def epsilon_of(orders: Array, divergences: Array, delta: float) -> float:
    """The smallest ε that follows from divergences of these orders at δ, by the best of them."""
    if _hardly_differs(orders, divergences, delta):
        return 0.0
    bounds = divergences + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(bounds.min()))


def delta_of(orders: Array, divergences: Array, epsilon: float) -> float:
    """The smallest δ that follows from divergences of these orders at ε, by the best of them."""
    bounds = (orders - 1) * (divergences - epsilon + np.log1p(-1 / orders)) - np.log(orders)
    distance = math.sqrt(-math.expm1(-float(divergences[0])))
    return min(1.0, distance, math.exp(min(0.0, float(bounds.min()))))


def _hardly_differs(orders: Array, divergences: Array, delta: float) -> bool:
    """Whether even the total variation is below δ (Bretagnolle and Huber, 1979)."""
    return math.sqrt(-math.expm1(-float(divergences[0]))) <= delta


@lru_cache(maxsize=512)
def of_sample(rate: float, noise: float) -> Array:
    """Rényi divergences of a sum of a sample, by :data:`ORDERS`: what one unit more or less can make of it."""
    moments = [
        _whole(rate, noise, int(order)) if order == int(order) else _between(rate, noise, float(order))
        for order in ORDERS
    ]
    with np.errstate(over="ignore"):
        divergences = np.maximum(np.array(moments), 0.0) / (ORDERS - 1)
    # It is never more than without the sampling.
    return np.minimum(divergences, ORDERS / (2 * noise**2))


def _whole(rate: float, noise: float, order: int) -> float:
    """The logarithm of the moment for a whole order (equation 3 of the paper)."""
    k = np.arange(order + 1.0)
    return float(
        np.logaddexp.reduce(
            _log_binomials(order, order)[0] + (order - k) * _log_rest(rate) + k * math.log(rate)
            + (k * k - k) / (2 * noise**2)
        )
    )  # fmt: skip


def _between(rate: float, noise: float, order: float) -> float:
    """The same for an order between whole numbers (section 3.3): a series on each side of where both densities are
    equal. Its terms end up alternating and shrinking, so that the last one bounds what is left out."""
    i = np.arange(TERMS + 1.0)
    j = order - i
    binomials, signs = _log_binomials(order, TERMS)
    middle = noise**2 * (_log_rest(rate) - math.log(rate)) + 0.5
    width = math.sqrt(2) * noise
    left = i * math.log(rate) + j * _log_rest(rate) + (i * i - i) / (2 * noise**2) + _log_erfc((i - middle) / width)
    right = j * math.log(rate) + i * _log_rest(rate) + (j * j - j) / (2 * noise**2) + _log_erfc((middle - j) / width)
    terms = binomials - math.log(2) + np.logaddexp(left, right)
    highest = float(terms.max())
    total = float((signs * np.exp(terms - highest)).sum() + math.exp(terms[-1] - highest))
    return highest + math.log(total) if total > 0 else highest


def _log_rest(rate: float) -> float:
    return math.log1p(-rate)


def _log_binomials(order: float, most: int) -> tuple[Array, Array]:
    """Logarithms of the sizes of the binomial coefficients of an order, and their signs."""
    factors = (order - np.arange(most)) / np.arange(1.0, most + 1)
    sizes = np.concatenate([[0.0], np.cumsum(np.log(np.abs(factors)))])
    return sizes, np.concatenate([[1.0], np.cumprod(np.sign(factors))])


def _log_erfc(x: Array) -> Array:
    """The logarithm of the complementary error function."""
    near = np.log([math.erfc(min(one, 20.0)) for one in x.tolist()])
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / (2 * x * x)
        far = -x * x - np.log(x * math.sqrt(math.pi)) + np.log1p(-inverse + 3 * inverse**2 - 15 * inverse**3)
    return np.where(x < 20, near, far)
