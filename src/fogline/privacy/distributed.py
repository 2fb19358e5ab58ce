"""Distributed differential privacy: each device adds a share of the noise, so that only the sum has it all, and whoever
adds up the masked updates never sees anything that has less.

A device clips its update, turns it by a rotation that everybody knows, scales it to a grid of integers and rounds each
number up or down by chance, again and again until the L2 norm is within a bound that is little more than before
(Kairouz, Liu and Steinke, "The Distributed Discrete Gaussian Mechanism", ICML 2021, algorithm 1). To that it adds noise
in whole numbers: Skellam (Agarwal, Kairouz and Liu, NeurIPS 2021), or discrete Gaussian.

What the promise rests on is checked in whole numbers: the norm after rounding, and the range of the sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from fogline.privacy.noise.discrete_gaussian import DiscreteGaussian
from fogline.privacy.noise.skellam import Skellam
from fogline.privacy.noise.table import IntegerNoise
from fogline.privacy.rotation import RandomRotation, largest_after

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans a round needs no ciphers.

Kind = Literal["skellam", "discrete_gaussian"]
FINEST: dict[Kind, float] = {"skellam": 2.0**12, "discrete_gaussian": 2.0**20}
"""Steps of the grid that a device's noise has at most as its standard deviation."""
STEPS = 2.0**30
"""Steps of the grid that the clip comes to at most: the squared norm has to fit in 64 bits."""
REJECTED = 2.0**-20
"""Chance that a rounding is too large and is repeated."""
CUT = 2.0**-20
"""Chance that a number of a rotated update is beyond the range, and is cut to it."""
BEYOND = 2.0**-40
"""Chance that the noise of a sum is beyond its range: the round fails then."""
COARSEST = 1.25
"""What noise gives away over what a Gaussian of its variance would, at most: so much more of it is taken."""


class GridError(ValueError):
    """No grid fits what is to be summed; a sentence."""


@dataclass(frozen=True)
class SharedNoise:
    """What a job says of noise that is added in shares.

    Args:
        kind: of noise.
        clip: L2 norm that an update is scaled down to.
        noise: over the clip, the standard deviation of the Gaussian noise that would protect as well as what is added
            does where as few devices are left as may be: it is that and a little more, for the rounding.
        left: share of a round's members who must be left.
    """

    kind: Kind
    clip: float
    noise: float
    left: float

    def fewest(self, members: int) -> int:
        """Members of a round without whom there is no sum, as there would be too little noise in it."""
        return math.ceil(self.left * members - 1e-9)


@dataclass(frozen=True)
class Grid:
    """The integers that updates of that size become, for sums of so many members.

    Args:
        shared: what the job says.
        size: numbers of an update.
        members: of the round.
        bits: of the ring in which they are added up.

    Raises:
        GridError: there is no room for so many, or only so coarse a grid that it would take a quarter more noise.
    """

    shared: SharedNoise
    size: int
    members: int
    bits: int

    def __post_init__(self) -> None:
        if 2.0 ** (self.bits - 2) <= 4.0 * (self.members + self._doubt) or self._excess > COARSEST:
            raise GridError(
                f"A ring of {self.bits} bits is too coarse for sums of {self.members} updates of {self.size} numbers "
                f"with {self.shared.kind} noise of {self.shared.noise:g} times the clip; take more bits, or a "
                "smaller cohort" + (", or discrete_gaussian." if self.shared.kind == "skellam" else ".")
            )

    @cached_property
    def step(self) -> float:
        """Of the grid, in units of the update: a power of two, the finest for which there is room."""
        clip, deviation = self.shared.clip, math.sqrt(COARSEST) * self._plain_share
        spread = math.sqrt(2.0 * self._doubt * self.members) * deviation
        room = 2.0 ** (self.bits - 2) - self.members - self._doubt
        least = max(
            (self.members * clip * self._flat + spread) / room,
            deviation / FINEST[self.shared.kind],
            clip / STEPS,
        )
        return 2.0 ** math.ceil(math.log2(least))

    @cached_property
    def noise(self) -> IntegerNoise:
        """What each device adds, in steps."""
        return Skellam(self._variance) if self.shared.kind == "skellam" else DiscreteGaussian(math.sqrt(self._variance))

    @cached_property
    def most_square(self) -> int:
        """What the squared L2 norm of a rounded update is at most, in steps (proposition 22 there)."""
        clip, root = self._clip, math.sqrt(self.size)
        usual = clip**2 + self.size / 4 + math.sqrt(-2.0 * math.log(REJECTED)) * (clip + root / 2)
        return math.floor(min(usual, (clip + root) ** 2))

    @property
    def _clip(self) -> float:
        """In steps."""
        return self.shared.clip / self.step

    @property
    def _plain_share(self) -> float:
        """Standard deviation of a device's share of the noise, in units of the update, if it were a Gaussian."""
        return self.shared.noise * self.shared.clip / math.sqrt(self.shared.fewest(self.members))

    @cached_property
    def _excess(self) -> float:
        """By how much rounding, and noise that is none, give away more than the Gaussian."""
        cost = self._cost((self._plain_share / self.step) ** 2, self.shared.fewest(self.members))
        return cost * 2.0 * self.shared.noise**2

    @property
    def _variance(self) -> float:
        """Of a device's share of the noise, in steps."""
        return self._excess * (self._plain_share / self.step) ** 2

    @property
    def _flat(self) -> float:
        """What a number of a rotated update is cut to, over the clip."""
        return largest_after(self.size, CUT)

    @property
    def _doubt(self) -> float:
        """Logarithm of how unlikely it must be for a number of a sum, in both directions, to be beyond its range."""
        return math.log(2.0 * self.size / BEYOND)

    @property
    def _largest(self) -> float:
        """What a number of an update is cut to, in steps."""
        return self._flat * self._clip

    def range(self, members: int) -> float:
        """What no number of that many members' sum exceeds, in steps, but with probability 2^-40 (Bernstein)."""
        noise = 2.0 / 3.0 * self._doubt + math.sqrt(2.0 * self._doubt * members * self._variance)
        return members * (self._largest + 1.0) + noise

    def encode(
        self, vector: npt.NDArray[Any], rotation: Source, rounding: Source, noise: Source
    ) -> npt.NDArray[np.int64]:
        """An update as a device sends it into the sum, (size,), in steps, with its share of the noise.

        Args:
            vector: (size,), finite; scaled down to the clip where it is longer.
            rotation: the same for all members.
            rounding: decides which numbers are rounded up.
            noise: is made of this.
        """
        values = vector.astype(np.float64)
        length = float(np.linalg.norm(values))
        values *= (1.0 if length <= self.shared.clip else self.shared.clip / length) / self.step
        values = RandomRotation(self.size, rotation).turn(values)
        np.clip(values, -self._largest, self._largest, out=values)
        return self._rounded(values, rounding) + self.noise.draw(self.size, noise)

    def decode(
        self, total: npt.NDArray[np.signedinteger[Any]], rotation: Source, members: int
    ) -> npt.NDArray[np.float64]:
        """The sum of that many members' updates, (size,).

        Raises:
            GridError: they cannot have come to that.
        """
        sums = total.astype(np.float64)
        if float(np.abs(sums).max(initial=0.0)) > self.range(members):
            raise GridError("The sum is larger than its members can have come to: a mask does not cancel out.")
        return RandomRotation(self.size, rotation).turn_back(sums * self.step)

    def _rounded(self, values: npt.NDArray[np.float64], rounding: Source) -> npt.NDArray[np.int64]:
        while True:
            chances = rounding.words(-(-self.size // 2)).view(np.uint32)[: self.size] * 2.0**-32
            rounded = np.floor(values + chances).astype(np.int64)
            if int(rounded @ rounded) <= self.most_square:
                return rounded

    def rho(self, members: int) -> float:
        """What a sum of so many members' updates tells of each: it is rho-zCDP, where neighbours are rounds of which
        one has zeros in place of one device's update. Of the fewest that may be left it is ``1 / (2 noise^2)``."""
        return self._cost(self._variance, members)

    def _cost(self, variance: float, members: int) -> float:
        square = float(self.most_square)
        if self.shared.kind == "skellam":
            return _skellam(square, math.sqrt(self.size), members * variance)
        return _discrete_gaussian(square, self.size, variance, members)


def _skellam(square: float, root: float, variance: float) -> float:
    """Theorem 3.5 of Agarwal, Kairouz and Liu: the divergence of order a is at most ``a D2^2 / 2v + min(((2a - 1) D2^2
    + 6 D1) / 4v^2, 3 D1 / 2v)``. In whole numbers D1 is at most D2^2, and the root of the size times D2."""
    first = min(root * math.sqrt(square), square)
    return square / (2 * variance) + min((square + 3 * first) / (2 * variance**2), 3 * first / (2 * variance))


def _discrete_gaussian(square: float, size: int, variance: float, members: int) -> float:
    """Theorem 1 of Kairouz, Liu and Steinke: a sum of discrete Gaussians is nearly one, and the rest is counted."""
    apart = 10.0 * sum(math.exp(-2.0 * math.pi**2 * variance * k / (k + 1)) for k in range(1, members))
    whole = members * variance
    return min(square / whole + apart * size / 2.0, (math.sqrt(square / whole) + apart * math.sqrt(size)) ** 2) / 2.0
