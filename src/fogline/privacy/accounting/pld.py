"""The accountant ``pld``: the distribution of the privacy loss itself, on a grid.

A loss is the logarithm of how much more likely an output is with a unit than without it. Losses of events that follow
each other add up, so their distribution is a convolution, which fast Fourier transforms make (Koskela et al., 2020).
Between two points of the grid the mass goes to both ends, so that its share under either data is kept (Doroshenko et
al., 2022): that promises no more than is true, and loses little. The distribution is tilted towards the tail that δ
asks for before it is transformed, so that rounding is small against that tail, however small δ is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from fogline.privacy.accounting.renyi import rdp_delta, rdp_epsilon
from fogline.privacy.accounting.tally import EventTally

Array = npt.NDArray[np.float64]
SPAN = 10.0
"""Standard deviations of the noise that are looked at; what is beyond counts as an infinite loss."""
FINE = 16
"""Points of the grid in a standard deviation of the loss of one event."""
MOST = 1 << 17
"""Of the points of one event."""
LARGE = 100.0
"""From this ε on the promise is empty, and Rényi divergences say so too."""
UNIT = 1e-16
"""Rounding of a number, over the number."""


@dataclass(frozen=True, eq=False)
class _Losses:
    """Losses of one event, on the grid."""

    first: int
    """The lowest loss, in steps of the grid."""
    masses: Array
    """How likely each is."""
    infinite: float
    """How likely it is infinite."""

    @cached_property
    def logs(self) -> Array:
        """Logarithms of the masses."""
        with np.errstate(divide="ignore"):
            return np.log(self.masses)

    def tilted(self, by: float) -> tuple[Array, float]:
        """Masses times the exponential of ``by`` times their losses (in steps), scaled to a sum of 1; and the logarithm
        of what they were scaled by."""
        logs = self.logs + by * (self.first + np.arange(len(self.logs)))
        highest = float(logs.max())
        weights = np.exp(logs - highest)
        total = float(weights.sum())
        return weights / total, highest + math.log(total)


def pld_epsilon(total: EventTally, delta: float) -> float:
    """ε by the distribution of losses.

    What is only known to be zero-concentrated has no such distribution; then Rényi divergences say it.
    """
    bound = rdp_epsilon(total, delta)
    if total.rho or bound > LARGE:
        return bound
    return max(_Composed(one, step, rate=math.log(delta)).epsilon(delta) for one, step in _directions(total))


def pld_delta(total: EventTally, epsilon: float) -> float:
    """δ by the distribution of losses; see :func:`pld_epsilon`."""
    bound = rdp_delta(total, epsilon)
    if total.rho or epsilon > LARGE or rdp_epsilon(total, 1e-3) > LARGE:
        return bound
    at = max(bound, 1e-300)
    return max(_Composed(one, step, rate=math.log(at)).delta(epsilon) for one, step in _directions(total))


Parts = list[tuple[_Losses, int]]


def _directions(total: EventTally) -> list[tuple[Parts, float]]:
    """Events, with how often each came and the step of the grid: where a unit is taken out, and where one comes in."""
    events = [(rate, noise, times) for (rate, noise), times in total.sampled.items()]
    if total.precision:
        events.append((1.0, total.precision**-0.5, 1))
    spreads = [_spread(rate, noise) for rate, noise, _ in events]
    count = sum(times for *_, times in events)
    variance = sum(spread**2 * times for spread, (*_, times) in zip(spreads, events, strict=True)) / count
    widest = max(_loss(rate, noise, 1 + SPAN * noise) - _loss(rate, noise, -SPAN * noise) for rate, noise, _ in events)
    # A power of two to an eighth: so that events which hardly differ share what was computed.
    step = 2 ** (math.floor(8 * math.log2(max(math.sqrt(variance) / FINE, widest / MOST))) / 8)
    pairs = [(_pair(rate, noise, step), times) for rate, noise, times in events]
    return [([(pair[side], times) for pair, times in pairs], step) for side in (0, 1)]


def _loss(rate: float, noise: float, z: float) -> float:
    """The loss of an output, where the unit adds 1 to the sum."""
    exponent = (2 * z - 1) / (2 * noise**2)
    if rate >= 1:
        return exponent
    return float(np.logaddexp(math.log1p(-rate), math.log(rate) + exponent))


def _spread(rate: float, noise: float) -> float:
    """The standard deviation of the loss."""
    z = np.linspace(-SPAN * noise, 1 + SPAN * noise, 4001)
    here = np.exp(-0.5 * (z / noise) ** 2) * (1 - rate) + rate * np.exp(-0.5 * ((z - 1) / noise) ** 2)
    exponents = (2 * z - 1) / (2 * noise**2)
    losses = exponents if rate >= 1 else np.logaddexp(math.log1p(-rate), math.log(rate) + exponents)
    here /= here.sum()
    mean = float((here * losses).sum())
    return math.sqrt(float((here * (losses - mean) ** 2).sum()))


@lru_cache(maxsize=64)
def _pair(rate: float, noise: float, step: float) -> tuple[_Losses, _Losses]:
    """Losses where a unit is taken out of a sum with noise, and where it comes in."""
    low, high = _loss(rate, noise, -SPAN * noise), _loss(rate, noise, 1 + SPAN * noise)
    first, last = math.floor(low / step), math.ceil(high / step)
    x = np.arange(first, last + 1, dtype=np.float64) * step
    z = _outputs(rate, noise, x)
    without = _between(z / noise)
    inside = _between((z - 1) / noise)
    having = without * (1 - rate) + inside * rate  # Two ends and what is between: len(x) + 1 numbers.
    low_mass, high_mass, middle = having[0], having[-1], having[1:-1]
    # Of a piece, so much goes to its upper end that both data keep their shares of it.
    upper = (middle - without[1:-1] * np.exp(x[:-1])) / -math.expm1(-step)
    upper = np.clip(upper, 0.0, middle)
    masses = np.zeros(len(x))
    masses[1:] += upper
    masses[:-1] += middle - upper
    back = masses * np.exp(-x)
    masses[0] += low_mass
    back[-1] += without[-1]
    return _Losses(first, masses, float(high_mass)), _Losses(-last, back[::-1].copy(), float(without[0]))


def _outputs(rate: float, noise: float, losses: Array) -> Array:
    """The outputs that have these losses; minus infinity for losses that no output has."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = losses if rate >= 1 else np.log1p(np.expm1(losses) / rate)
    return np.where(np.isnan(logarithms), -np.inf, noise**2 * logarithms + 0.5)


def _between(edges: Array) -> Array:
    """The mass of a standard normal distribution below the first edge, between each two, and above the last; each
    from the nearer tail, so that small ones are exact too."""
    scaled = (edges / math.sqrt(2)).tolist()
    above = np.array([math.erfc(one) / 2 for one in scaled])
    below = np.array([math.erfc(-one) / 2 for one in scaled])
    pieces = np.where(edges[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return np.concatenate([below[:1], pieces, above[-1:]])


class _Composed:
    """The upper tail of the distribution of the sum of losses.

    Args:
        parts: events, and how often each came.
        step: of the grid.
        rate: the logarithm of the δ for which it is to be right.
    """

    def __init__(self, parts: Parts, step: float, rate: float) -> None:
        self._parts, self._step = parts, step
        moments = _Moments(parts, step)
        tilt = moments.tilt_for(rate)
        lowest, highest = moments.window(tilt)
        count = 1 << (math.ceil((highest - lowest) / step) + 16).bit_length()
        begin, scale = math.floor(lowest / step), moments.at(tilt)
        tilted = np.maximum(self._convolved(tilt, begin, count), 0.0)
        tilted += UNIT * (4 + math.sqrt(sum(times for _, times in parts)))
        x = (begin + np.arange(count)) * step
        inside = x > -step  # Of no loss below 0 does any ε make something.
        self.losses = x[inside]
        self.masses = tilted[inside] * np.exp(scale - tilt * self.losses)
        infinite = -math.expm1(sum(times * math.log1p(-min(one.infinite, 0.5)) for one, times in parts))
        self.beyond = infinite + UNIT * math.exp(scale - tilt * highest)

    def _convolved(self, tilt: float, begin: int, count: int) -> Array:
        """The tilted distribution of the sum, on ``count`` points; what lies outside of them comes in at the other
        end, and only adds."""
        spectrum: npt.NDArray[np.complex128] = np.ones(count // 2 + 1, complex)
        origin = 0
        for one, times in self._parts:
            places = np.arange(len(one.masses)) % count
            wrapped = np.bincount(places, one.tilted(tilt * self._step)[0], minlength=count)
            spectrum *= np.fft.rfft(wrapped) ** times
            origin += one.first * times
        return np.roll(np.fft.irfft(spectrum, count), (origin - begin) % count)

    def delta(self, epsilon: float) -> float:
        """The smallest δ at ε."""
        above = self.losses > epsilon
        return min(1.0, self.beyond + float((self.masses[above] * -np.expm1(epsilon - self.losses[above])).sum()))

    def epsilon(self, delta: float) -> float:
        """The smallest ε at least 0 at δ; infinite where δ does not even cover losses without bound."""
        wanted, x = delta - self.beyond, self.losses
        if wanted <= 0:
            return math.inf
        if self.delta(0.0) <= delta:
            return 0.0
        heavier = np.cumsum(self.masses[::-1])[::-1]
        scaled = np.cumsum((self.masses * np.exp(x[0] - x))[::-1])[::-1]
        reached = heavier - np.exp(x - x[0]) * scaled <= wanted
        at = int(np.argmax(reached))
        return max(0.0, float(x[0] + math.log((heavier[at] - wanted) / scaled[at])))


class _Moments:
    """Logarithms of the moments of the sum of losses, by their tilt: they bound its tails (Chernoff)."""

    def __init__(self, parts: Parts, step: float) -> None:
        self._parts, self._step = parts, step
        variance = sum(times * _variance(one) for one, times in parts) * step**2
        scale = 1 / math.sqrt(max(variance, step**2))
        largest = max(one.first + len(one.masses) for one, _ in parts) * step
        ups = np.geomspace(min(0.05 * scale, 0.5 / largest), 60 * scale, 32)
        self._tilts = np.concatenate([-ups[::4], [0.0], ups])
        self._logs = np.array([self.at(float(tilt)) for tilt in self._tilts])

    def at(self, tilt: float) -> float:
        """The logarithm of the mean of ``exp(tilt * loss)``."""
        return sum(times * one.tilted(tilt * self._step)[1] for one, times in self._parts)

    def tilt_for(self, rate: float) -> float:
        """A tilt at which a tail of ``exp(rate)`` is seen well.

        The one that bounds the tail best may make rare large losses weigh more than all others; half of it does not. It
        is less still where what rounding leaves would, without the tilt, be more at a loss of 0 than that tail.
        """
        up = self._tilts > 0
        best = float(self._tilts[up][np.argmin((self._logs[up] - rate) / self._tilts[up])])
        calm = (self._tilts >= 0) & (self._tilts <= best / 2) & (self._logs <= max(30 + rate, -rate / 3))
        return float(self._tilts[calm].max())

    def window(self, tilt: float) -> tuple[float, float]:
        """Losses below, and above, which there is hardly anything of the tilted distribution (Chernoff); the lower one
        is at most 0."""
        gaps, logs = self._tilts - tilt, self._logs - self.at(tilt)
        below, above = gaps < 0, gaps > 0
        lowest = float(((math.log(UNIT) - logs[below]) / -gaps[below]).max())
        return min(lowest, 0.0), max(0.0, float(((logs[above] - math.log(UNIT)) / gaps[above]).min()))


def _variance(losses: _Losses) -> float:
    x = np.arange(len(losses.masses))
    mean = float((losses.masses * x).sum())
    return float((losses.masses * (x - mean) ** 2).sum())
