"""A rule: how the updates of an aggregator's children become one.

The weighted mean streams: an update is added when it comes, and not kept. A rule that overrides :meth:`Rule.combine`
needs all updates at once: they stay on disk, and it sees them in one block of columns after another::

    @RULES.add("median")
    class Median(Rule):
        \"\"\"Coordinate-wise median.\"\"\"

        def combine(self, block, weights):
            return np.median(block, axis=0)

One that compares updates as wholes overrides :meth:`Rule.mix`: from their lengths and distances it says how much of
each there is in what takes their place::

    @RULES.add("nearest")
    class Nearest(Rule):
        \"\"\"The update that is nearest to all others.\"\"\"

        def mix(self, updates):
            return selection([updates.distances.sum(axis=1).argmin()], len(updates))

It may do both: first mix, then combine the mixtures. Parameters of a rule are annotated fields: a subclass becomes a
frozen dataclass by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import Fold
from fogline.aggregation.gathering import GatheringFold, Keep, MixingPlan, as_it_is
from fogline.aggregation.geometry import Geometry, Matrix, Mixture, WrongRuleError
from fogline.aggregation.look import MeanLook
from fogline.aggregation.mean import MeanFold
from fogline.aggregation.spill import Spill
from fogline.parameters import Parametrised
from fogline.params import Vector


class Rule(Parametrised):
    """How updates become one, at the weighted mean's values."""

    combines: ClassVar[bool] = False
    """Whether it makes one of many column by column: set by itself where ``combine`` is overridden."""
    mixes: ClassVar[bool] = False
    """Whether it looks at updates as wholes: set by itself where ``mix`` is overridden."""
    needs_all: ClassVar[bool] = False
    """Whether it needs all updates at once: if it does either."""
    tells: ClassVar[bool] = False
    """Whether it says whose updates it uses, so that children can be judged by it: set by itself where ``mix`` or
    ``kept`` is overridden."""
    prepares: ClassVar[bool] = False
    """Whether what it mixes is as good as updates for another rule, so that it may stand before one."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.combines = cls.combine is not Rule.combine
        cls.mixes = cls.mix is not Rule.mix
        cls.needs_all = cls.combines or cls.mixes
        if "tells" not in vars(cls):
            cls.tells = cls.mixes or cls.kept is not Rule.kept

    @property
    def least(self) -> int:
        """Updates without which it says nothing; a round needs so many reports."""
        return 1

    @property
    def trusted(self) -> str:
        """The child without whose update it says nothing; empty if there is none."""
        return ""

    @property
    def remembers(self) -> bool:
        """Whether it sets out from what it made of the round before. Then all that it is shown are differences from
        that, which is added again to what it makes of them; in the first round they are the updates."""
        return False

    def needed(self, mixtures: int) -> int:
        """Updates of which it makes at least so many mixtures."""
        return mixtures

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        """One of many, for some columns of a named vector. It is called from several threads at once.

        Args:
            block: (updates, columns), all finite; its own to change.
            weights: (updates,), each above 0; ones where it combines mixtures.

        Returns:
            (columns,) floating-point numbers.
        """
        return np.average(block, axis=0, weights=weights)

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Which numbers of a block count in what ``combine`` makes of it, (updates, columns); None: it does not say."""
        return None

    def mix(self, updates: Geometry) -> Matrix | Mixture:
        """Sums of updates that take their place; where nothing combines them, their mean is the result.

        Args:
            updates: what is known of those under one name as wholes.

        Returns:
            (mixtures, updates), how much of each update there is in each mixture.
        """
        return np.eye(len(updates))

    def prepare(self, updates: Geometry) -> Mixture | None:
        """What takes the place of updates, as a fold takes it; None where they stay as they are.

        Raises:
            WrongRuleError: ``mix`` gives something else.
        """
        if not self.mixes:
            return None
        mixture = self.mixture(updates)
        return mixture if self.combines else averaged(mixture)

    def mixture(self, updates: Geometry) -> Mixture:
        """What ``mix`` gives.

        Raises:
            WrongRuleError: it is something else than it must be.
        """
        made: Any = self.mix(updates)
        noise = 0.0
        if isinstance(made, Mixture):
            made, noise = made
        if not isinstance(made, np.ndarray) or made.ndim != 2 or made.shape[1] != len(updates) or not len(made):
            given = f"an array of shape {made.shape}" if isinstance(made, np.ndarray) else repr(type(made))
            wanted = f"one of shape (mixtures, {len(updates)})"
            raise WrongRuleError(f"gives {given} where it mixes; it must give {wanted}", self.mix)
        if not (np.isfinite(made).all() and np.isfinite(noise)):
            raise WrongRuleError("gives numbers that are not finite where it mixes", self.mix)
        return Mixture(made.astype(np.float64), float(noise))

    def fold(self, keep: Keep | None = None, plans: Mapping[str, MixingPlan] | None = None) -> Fold:
        """An empty fold that ends in what the rule makes of its updates.

        Args:
            keep: gives a vector that stays as it is for as long as the fold lives; None writes it to disk. Only a rule
                that needs all updates keeps any.
            plans: what the rule has decided, where what is folded are pieces of the updates.
        """
        return GatheringFold(self, Spill() if keep is None else keep, plans) if self.needs_all else MeanFold()

    def look(self) -> Fold:
        """A fold that refuses what :meth:`fold` does, and computes nothing."""
        return GatheringFold(self, as_it_is) if self.needs_all else MeanLook()


def averaged(mixture: Mixture) -> Mixture:
    """The one mixture that is the mean of several."""
    return Mixture(mixture.matrix.mean(axis=0, keepdims=True), mixture.noise)
