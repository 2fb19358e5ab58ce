"""The fold of a rule that needs all updates at once: it gathers them, and combines them in blocks of columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fogline.aggregation.attribution import RuleUse, Telling, Used, use_of
from fogline.aggregation.fold import Fold, middle
from fogline.aggregation.geometry import Geometry, Mixture, WrongRuleError
from fogline.aggregation.mean import LARGEST
from fogline.aggregation.rows import UpdateRows
from fogline.aggregation.sweep import bound, magnitude
from fogline.aggregation.update import (
    Arrays,
    Folded,
    Partial,
    UnusableRoundError,
    UnusableUpdateError,
    Update,
)
from fogline.aggregation.weights import is_per_number
from fogline.params import State, Vector

Keep = Callable[[Vector], Vector]
"""Gives a vector of the same numbers that stays as it is."""
FARTHEST = 1e150
"""Magnitudes of which a rule can still compute distances: their squares are numbers."""
CELL = 1 << 16
"""Numbers of noise that are drawn together."""


def as_it_is(vector: Vector) -> Vector:
    """Keeps a vector that nobody changes, such as one that lies in a file."""
    return vector


class Combining(Telling, Protocol):
    """What the fold asks of a rule: see :class:`fogline.aggregation.rules.Rule`."""

    mixes: ClassVar[bool]

    @property
    def least(self) -> int:
        """Updates that it needs."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether it sets out from what it made of the round before."""
        ...

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        """One of many, for some columns."""
        ...

    def prepare(self, updates: Geometry) -> Mixture | None:
        """What takes the updates' place, if anything does."""
        ...


class MixingPlan(NamedTuple):
    """What a rule has decided about the vectors of a name, from all of their numbers."""

    mixture: Mixture
    seed: Sequence[int]
    """Of the noise."""
    size: int
    """Numbers of the whole vectors."""
    start: int = 0
    """Where those that are combined begin in them."""

    def at(self, start: int) -> MixingPlan:
        """The same, for a piece that begins there."""
        return self._replace(start=start)


class Gathered(Partial):
    """Updates that wait together. They merge as partial results do, but only on the node that gathered them."""

    __slots__ = ("updates",)

    def __init__(self, updates: list[tuple[Update, float]]) -> None:
        """``updates``: each with its scale."""
        sums = {name: vector for update, _ in reversed(updates) for name, vector in update.vectors.items()}
        counters = middle([update.counters for update, _ in updates])
        super().__init__({**sums}, {}, counters, sum(update.count for update, _ in updates))
        self.updates = updates

    def to_arrays(self) -> Arrays:
        arrays: Arrays = {}
        for place, (update, scale) in enumerate(self.updates):
            arrays |= {f"{place}/{name}": array for name, array in update.to_arrays().items()}
            arrays[f"{place}/scale"] = np.array([scale])
            arrays[f"{place}/child"] = np.frombuffer(update.child.encode(), np.uint8)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Gathered:
        """Read what :meth:`to_arrays` wrote."""
        parts: dict[int, Arrays] = {}
        for name, array in arrays.items():
            place, _, rest = name.partition("/")
            parts.setdefault(int(place), {})[rest] = array
        updates: list[tuple[Update, float]] = []
        for _, part in sorted(parts.items()):
            update = Update.from_arrays(part)
            update.child = bytes(part["child"]).decode()
            updates.append((update, float(part["scale"].item())))
        return cls(updates)


@dataclass(frozen=True, slots=True, repr=False)
class CombinedFold(Folded):
    """What a rule made of all updates at once: of each name one vector, which stands for their mean.

    Its weight is what the updates' weights come to if each were as heavy as the median one, lest one update make
    itself as heavy as it likes. A total is the rule's vector times that.

    Args:
        use: by child, how much of its update the rule has used (:func:`fogline.aggregation.attribution.use_of`);
            computed when it is asked for, from the updates, which it keeps until then.
    """

    use: Callable[[], dict[str, RuleUse]] = field(default=dict[str, RuleUse], compare=False)

    def mean(self, name: str) -> Vector:
        self._check(name)
        if not self.weights[name] > 0.0:
            raise ValueError(f"The updates' weights of '{name}' sum to {self.weights[name]}; there is no mean.")
        return self.sums[name]

    def total(self, name: str) -> Vector:
        return Folded.total(self, name) * self.weights[name]


class GatheringFold(Fold):
    """Gathers updates, and lets a rule combine them.

    Args:
        rule: says how.
        keep: gives the vectors that are gathered.
        plans: what the rule has decided, by name, where what is gathered are pieces of the updates; None lets it look
            at them as wholes.
    """

    def __init__(self, rule: Combining, keep: Keep, plans: Mapping[str, MixingPlan] | None = None) -> None:
        self._rule, self._keep, self._plans = rule, keep, plans
        self.last: State = {}
        """What the rule made of the round before, by name; of no matter where it remembers nothing."""
        super().__init__()

    def clear(self) -> None:
        super().clear()
        self._updates: list[tuple[Update, float]] = []

    def add(self, update: Update, scale: float = 1.0) -> None:
        self._suits_names(update.vectors, update.weights, update.counters)
        for name, vector in update.vectors.items():
            weight = update.weights[name]
            if is_per_number(weight):
                raise UnusableUpdateError(
                    f"Its vector '{name}' has a weight for each number; the rule of this tier takes one for all."
                )
            size = self._size(name, vector, weight, scale, update.bounds.get(name)) * scale
            if self._rule.mixes and size > FARTHEST:
                raise UnusableUpdateError(f"Its vector '{name}' reaches {size:.3g}; no distance to it can be computed.")
        vectors = {name: self._keep(vector) for name, vector in update.vectors.items()}
        kept = Update(vectors, {**update.weights}, update.counters.copy(), update.count, child=update.child)
        self._gather([(kept, scale)])

    def merge(self, partial: Partial, scale: float = 1.0) -> None:
        self.suits(partial)
        assert isinstance(partial, Gathered)
        self._gather([(update, scale * own) for update, own in partial.updates])

    def partial(self) -> Gathered:
        gathered = Gathered(self._updates)
        self.clear()
        return gathered

    def finish(self) -> Folded:
        """As every fold's.

        Raises:
            UnusableRoundError: there are fewer updates than the rule needs, or that of the child it trusts is missing.
        """
        counters = middle([update.counters for update, _ in self._updates])  # The largest might be a lie.
        count, made = self.count, dict[str, Vector]()
        weights, used = dict[str, float](), list[Used]()
        for name, rows in rows_of(self._rule, self._updates, self.last).items():
            plan = _planned(self._rule, rows) if self._plans is None else self._plans.get(name)
            made[name] = self._combined(name, rows, plan)
            weights[name] = len(rows) * float(np.median(rows.weights)) if len(rows) else 0.0
            used.append((rows, None if plan is None else plan.mixture.matrix))
        self.clear()
        return CombinedFold({**made}, {**weights}, counters, count, partial(use_of, self._rule, used))

    def suits(self, partial: Partial) -> None:
        if not isinstance(partial, Gathered):
            raise UnusableUpdateError("It is a sum of several updates; the rule of this tier wants each by itself.")

    def _gather(self, updates: list[tuple[Update, float]]) -> None:
        for update, _ in updates:
            for name, vector in update.vectors.items():
                self.sums.setdefault(name, vector)
            if not self.counters.size:
                self.counters = update.counters  # For how many there are; what they come to is said at the end.
            self.count += update.count
        self._updates += updates

    def _combined(self, name: str, rows: UpdateRows, plan: MixingPlan | None) -> Vector:
        """What the rule makes of the vectors of a name."""
        rule = self._rule
        if plan is None:
            made = rows.combined(rule.combine, None)
        else:
            made = rows.combined(rule.combine if rule.combines else None, plan.mixture.matrix)
            if plan.mixture.noise:
                _add_noise(made, plan)
        if not math.isfinite(bound(made)):
            _refuse(name, made, rows)
        return made


def plans_of(rule: Combining, gathered: Gathered, last: State) -> dict[str, MixingPlan]:
    """What a rule decides about the vectors of each name.

    Args:
        rule: decides.
        gathered: the updates.
        last: what it made of the round before, by name.

    Raises:
        UnusableRoundError: as in :meth:`GatheringFold.finish`.
    """
    plans = {name: _planned(rule, rows) for name, rows in rows_of(rule, gathered.updates, last).items()}
    return {name: plan for name, plan in plans.items() if plan is not None}


def remembered(rule: Combining, folded: Folded) -> State:
    """What a rule has to find again in the next round, by name: what it made of this one.

    Of a name that nobody has sent this time there is nothing, lest children fill an aggregator with names.
    """
    return {name: folded.mean(name) for name in folded.sums if folded.weights[name]} if rule.remembers else {}


def rows_of(rule: Combining, updates: Sequence[tuple[Update, float]], last: State) -> dict[str, UpdateRows]:
    """The vectors of each name that weigh anything; where the rule remembers, around what it made of them last.

    A name that too few have sent for the rule to say anything is left out, unless most have: nobody ends a round with a
    name of his own. Where children send different names, and each has sent none that is left, the round says nothing.

    Raises:
        UnusableRoundError: as in :meth:`GatheringFold.finish`.
    """
    least, trusted, found = rule.least, rule.trusted, dict[str, UpdateRows]()
    if updates and len(updates) < least:
        raise UnusableRoundError(f"{rule} needs {least} updates, and {len(updates)} can be used.")
    if updates and trusted and all(update.child != trusted for update, _ in updates):
        raise UnusableRoundError(f"{rule} needs the update of '{trusted}', which cannot be used or did not come.")
    for name in {name: None for update, _ in updates for name in update.vectors}:
        sent = [one for one in updates if name in one[0].vectors]
        if trusted and all(update.child != trusted for update, _ in sent):
            continue
        rows = _rows(name, sent, last.get(name) if rule.remembers else None)
        if trusted and trusted not in rows.children:
            raise UnusableRoundError(f"{rule} needs the update of '{trusted}', whose '{name}' weighs nothing.")
        if len(rows) >= least or least == 1:
            found[name] = rows
        elif 2 * len(sent) > len(updates):
            raise UnusableRoundError(
                f"{rule} needs {least} updates, and only {len(rows)} of {len(updates)} have a '{name}' that weighs "
                "anything."
            )
    _check_left(rule, updates, found)
    return found


def _check_left(rule: Combining, updates: Sequence[tuple[Update, float]], found: Mapping[str, UpdateRows]) -> None:
    sent = Counter(name for update, _ in updates for name in update.vectors)
    own = [[name for name in update.vectors if sent[name] < len(updates)] for update, _ in updates]
    if own and all(names and found.keys().isdisjoint(names) for names in own):
        raise UnusableRoundError(
            f"{rule} needs {rule.least} updates under a name; of {len(updates)} that name different ones, none has "
            f"so many ('{own[0][0]}' has {sent[own[0][0]]})."
        )


def _rows(name: str, sent: Sequence[tuple[Update, float]], last: Vector | None) -> UpdateRows:
    rows: list[tuple[Vector, float]] = []
    heavy: list[float] = []
    children: list[str] = []
    for update, scale in sent:
        weight = update.weights[name]
        assert not is_per_number(weight)
        if weight > 0.0:
            rows.append((update.vectors[name], scale))
            heavy.append(weight)
            children.append(update.child)
    size = sent[0][0].vectors[name].size
    centre = last if last is not None and last.shape == (size,) else None
    return UpdateRows(rows, np.array(heavy), children, size, centre)


def _planned(rule: Combining, rows: UpdateRows) -> MixingPlan | None:
    if not rule.mixes or not len(rows):
        return None
    seen = rows.geometry()
    mixture = rule.prepare(seen)
    return None if mixture is None else MixingPlan(mixture, seen.seed, seen.size)


def _refuse(name: str, combined: Vector, rows: UpdateRows) -> None:
    """A rule has made numbers that are not finite. Of numbers whose squares overflow many an honest rule would."""
    largest = max(magnitude(vector) * abs(scale) for vector, scale in rows.vectors)
    bad = np.flatnonzero(~np.isfinite(combined))
    what = f"gives '{name}' with {bad.size:,} of {combined.size:,} numbers that are not finite"
    if largest * largest * len(rows) < LARGEST[combined.dtype]:
        raise WrongRuleError(f"{what} (number {bad[0]} is {combined[bad[0]]})")
    raise UnusableRoundError(f"Of updates as large as {largest:.3g} the tier's rule {what}.")


def _add_noise(vector: Vector, plan: MixingPlan) -> None:
    """Add the numbers of an endless row of noise that belong there: the same ones, in whatever pieces."""
    stop = plan.start + vector.size
    for cell in range(plan.start // CELL, -(-stop // CELL)):
        low, high = max(plan.start, cell * CELL), min(stop, (cell + 1) * CELL)
        drawn = np.random.default_rng([*plan.seed, cell]).standard_normal(CELL, np.float32)
        noise = drawn[low - cell * CELL : high - cell * CELL] * np.float32(plan.mixture.noise)
        vector[low - plan.start : high - plan.start] += noise
