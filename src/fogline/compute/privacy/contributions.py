"""What one unit gives to a sum that noise is added to: its movement alone, clipped, with the same weight as all others.

A unit is a device or a site. Its movement is clipped to an L2 norm and rounded towards zero to the grid on which the
exact fold adds up, so that a sum changes by no more than the clip where a unit gives nothing instead. Weights by
examples would tell how many there are, and let one unit count for more than another: every unit weighs 1. What a method
reports beside the movement would go past the clip: it is refused.

Of a clip that adapts, not everybody knows what it is in a round. There a unit gives its movement over the clip, of a
norm of at most 1, which whoever adds up can look at; who adds the noise multiplies the sum by the clip again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fogline.aggregation import Partial, Update
from fogline.aggregation.exact import UNIT
from fogline.jobs.protection.protection import Protection
from fogline.params import Vector
from fogline.privacy.adaptive import WITHIN
from fogline.privacy.clipping import BELOW, bounded_on_grid, norm_of, scaled
from fogline.privacy.mechanisms import Integers

COUNTED = "within"
"""Name under which a unit says whether its movement was within the clip."""


class ContributionError(ValueError):
    """A unit cannot give what it has: noise would not cover it. One sentence, which tells nothing of its numbers."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """Makes what units give.

    Args:
        protection: of the job.
        movement: name of the vector that moves the model.
    """

    protection: Protection
    movement: str

    @property
    def _adapts(self) -> bool:
        return self.protection.privacy.quantile is not None

    @property
    def names(self) -> frozenset[str]:
        """Names of the vectors in what a unit gives."""
        return frozenset((self.movement, COUNTED) if self._adapts else (self.movement,))

    @property
    def longest(self) -> float:
        """The L2 norm that what a unit gives may have."""
        return 1.0 if self._adapts else self.protection.privacy.clip

    def of(self, update: Update, clip: float | None, key: bytes) -> Update:
        """What a unit gives.

        Args:
            update: what it would report without protection.
            clip: that came with the model, where it changes; None: the job's.
            key: of the noise that the unit adds itself, 32 bytes, for this once.

        Raises:
            ContributionError: the update has something that the clip does not hold, or the clip is none.
        """
        limit = self.protection.privacy.clip if clip is None else clip
        if not 0.0 < limit < math.inf:
            raise ContributionError(f"The clip that came with the model is {limit:g}; it must be above 0 and finite.")
        if (why := self.beside(update)) is not None:
            raise ContributionError(why)
        vector = update.vectors[self.movement]
        norm = norm_of((vector,))
        if not math.isfinite(norm):
            raise ContributionError(f"Its '{self.movement}' is not finite.")
        given = self._with_noise(self._clipped(vector, norm, limit), limit, key)
        vectors = {self.movement: given}
        if self._adapts:
            vectors[COUNTED] = np.array([WITHIN if norm <= limit else -WITHIN], np.float32)
        return Update(vectors, dict.fromkeys(vectors, 1.0), update.counters, update.count)

    def fault(self, update: Update | Partial) -> str | None:
        """Why what somebody sent is nothing that a unit gives; None if it is. Whoever adds up looks at it, because a
        unit that does not clip is not protected."""
        if isinstance(update, Partial):
            return "It is a sum of several updates where each unit gives its own."
        if update.vectors.keys() != self.names:
            return f"It has vectors {sorted(update.vectors)} where a unit gives {sorted(self.names)}."
        if any(not isinstance(weight, float) or weight != 1.0 for weight in update.weights.values()):
            return "It has a weight other than 1, which is that of every unit."
        if self._adapts and not np.array_equal(np.abs(update.vectors[COUNTED]), [WITHIN]):
            return f"Its '{COUNTED}' is neither {WITHIN:g} nor {-WITHIN:g}, as that of every unit is."
        if self.protection.local:
            return None  # Noise has made it longer.
        if not norm_of((update.vectors[self.movement],)) <= self.longest:
            clip = " of its round" if self._adapts else f", {self.longest:g}"
            return f"Its '{self.movement}' is longer than the clip{clip}, or not finite."
        return None

    def beside(self, update: Update) -> str | None:
        """What an update has that the clip does not hold, in a sentence; None if there is nothing."""
        others = [name for name in update.vectors if name != self.movement]
        if others or update.counters.size:
            what = f"'{others[0]}'" if others else "integer counters"
            return f"It reports {what} beside its movement, which the clip does not hold."
        return None if update.vectors else f"It reports no '{self.movement}'."

    def nothing(self, size: int) -> Update:
        """What a unit gives that can give nothing else: it tells nothing, and whoever adds up refuses it."""
        vectors = {self.movement: np.full(size, np.nan, np.float32)}
        if self._adapts:
            vectors[COUNTED] = np.full(1, np.nan, np.float32)
        return Update(vectors, dict.fromkeys(vectors, 1.0))

    def _clipped(self, vector: Vector, norm: float, clip: float) -> Vector:
        """The movement, within the clip, on the grid of sums."""
        if not self._adapts:
            return bounded_on_grid(vector, norm, clip, 1.0 / UNIT)
        factor = BELOW / max(norm, clip)
        return bounded_on_grid(scaled(vector, factor), norm * factor, self.longest, 1.0 / UNIT)

    def _with_noise(self, vector: Vector, clip: float, key: bytes) -> Vector:
        """The vector with the noise that the unit adds itself, if it does."""
        protection = self.protection
        if not protection.local:
            return vector
        from fogline.privacy.noise.source import Source  # Not above: it needs a cipher, and most jobs want no noise.

        steps: Integers = (vector * vector.dtype.type(UNIT)).astype(np.int64)
        deviation = protection.privacy.noise * clip * UNIT
        noised, _ = protection.mechanism.noised(steps, deviation, {}, Source(key))
        return (noised * (1.0 / UNIT)).astype(vector.dtype)
