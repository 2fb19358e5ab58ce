"""A clip that follows a quantile of the units' norms (Andrew et al., "Differentially Private Learning with Adaptive
Clipping", NeurIPS 2021).

Beside its movement a unit says whether that was within the clip: plus a half if it was, else minus a half. The noisy
sum of that moves the clip. It is paid for out of the same noise: the two sums together are one Gaussian mechanism of
the noise that the job names.
"""

from __future__ import annotations

import math

RATE = 0.2
"""Learning rate of the clip's logarithm."""
DEVIATION = 1 / 20
"""Standard deviation of the noise on the count of units within the clip, over the number of units."""
WITHIN = 0.5
"""What a unit within the clip adds to the count; one beyond it adds the negative. A unit that gives nothing adds 0."""


class TooFewError(ValueError):
    """The noise on the count would use up all that the job's noise allows; a sentence."""


def noise_of_count(units: float) -> float:
    """Standard deviation of the noise on the count."""
    return units * DEVIATION


def noise_of_sum(noise: float, units: float) -> float:
    """The noise that the sum of the movements needs, over the clip, so that with the count it is as the job says.

    ``(z^-2 - (2 s)^-2)^(-1/2)``, where ``s`` is the noise on the count, which one unit changes by a half.

    Raises:
        TooFewError: there is no such noise.
    """
    left = noise**-2 - (noise_of_count(units) / WITHIN) ** -2 if noise else math.inf
    if left <= 0.0:
        raise TooFewError(
            f"With privacy.quantile, noise of {noise:g} wants more than {noise / DEVIATION * WITHIN:g} units in a "
            f"round, and {units:g} are expected; ask more, make noise smaller, or leave quantile out."
        )
    return left**-0.5


def next_clip(clip: float, count: float, units: float, quantile: float) -> float:
    """The clip after a round.

    Args:
        clip: the one that held.
        count: the noisy sum of what units said.
        units: that were expected.
        quantile: of their norms that the clip follows, above 0 and below 1.
    """
    share = min(1.0, max(0.0, count / units + WITHIN))  # Noise leads outside of what a share can be.
    return clip * math.exp(-RATE * (share - quantile))
