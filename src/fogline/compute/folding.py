"""The fold of a round: the one loop over what children sent, and what of it is refused.

An update is refused where its vectors do not fit the model, where they are others than most updates of the round have,
and where the fold itself refuses it: numbers that are not finite, a sum that overflows, the other kind of fold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fogline.aggregation import Fold, Folded, Partial, Update, fold_named
from fogline.algorithms.hooks import BUFFERS
from fogline.params import Spec

Form = tuple[Any, ...]
"""The shapes of an update's counters and of its vectors, each of these after its name."""
Refusals = dict[int, str]
"""Places of updates that cannot be used, and why."""
UNLIKE = "Its vectors are not those that the others of its round have."


def form_of(value: Update | Partial) -> Form:
    """The form of an update; a partial result has that of the updates in it."""
    vectors = value.sums if isinstance(value, Partial) else value.vectors
    if len(vectors) == 1:  # There may be a million of these.
        for name, vector in vectors.items():
            return value.counters.shape, name, vector.shape
    form: list[Any] = [value.counters.shape]
    for name in sorted(vectors):
        form += name, vectors[name].shape
    return tuple(form)


@dataclass(frozen=True, slots=True)
class FormCheck:
    """Compares forms with the model: a vector that is shorter would be stretched over it.

    Args:
        movement: name of the vector that moves the model.
        spec: layout of the model.
    """

    movement: str
    spec: Spec

    def misfit(self, form: Form) -> str | None:
        """Why an update of that form does not fit the model; None if it does."""
        counters = form[0]
        if counters != (self.spec.integers,):
            return f"It has counters of shape {counters} where the model has {(self.spec.integers,)}."
        lengths = {self.movement: self.spec.trainable, BUFFERS: self.spec.floats - self.spec.trainable}
        for name, shape in zip(form[1::2], form[2::2], strict=True):
            if name in lengths and shape != (lengths[name],):
                return f"Its vector '{name}' has shape {shape} where the model has {(lengths[name],)}."
        return None


def usual(forms: Iterable[Form]) -> Form | None:
    """The form that most have, so that whoever comes first does not decide for all; None where there is none."""
    most = Counter(forms).most_common(1)
    return most[0][0] if most else None


@dataclass(slots=True)
class _Alike:
    """The updates of one form."""

    fold: Fold
    misfit: str | None
    places: list[int] = field(default_factory=list[int])


class RoundFold:
    """Folds updates in the order in which they are handed over, and keeps none of them.

    Which form is the usual one is known when all were seen. Until then each form has a fold of its own: mostly there
    is one.

    Args:
        exact: whether the fold is the exact one.
        misfit: why an update of some form does not fit the model; None if it does.
    """

    def __init__(self, exact: bool, misfit: Callable[[Form], str | None] = lambda _: None) -> None:
        self._exact = exact
        self._misfit = misfit
        self._alike: dict[Form, _Alike] = {}
        self._refused: Refusals = {}

    def take(self, places: Sequence[int], values: Sequence[tuple[Update | Partial, float]]) -> None:
        """Fold more of them.

        Args:
            places: of the updates in the round, each once, ascending.
            values: the updates, each with its scale.
        """
        if not values:
            return
        if len(values) == 1:
            self._take(form_of(values[0][0]), places, values)
            return
        forms = [form_of(value) for value, _ in values]
        found = set(forms)
        if len(found) == 1:
            self._take(forms[0], places, values)
            return
        for form in sorted(found, key=forms.index):
            some = [i for i, other in enumerate(forms) if other == form]
            self._take(form, [places[i] for i in some], [values[i] for i in some])

    def close(self, merge: bool, votes: Callable[[int], int] = lambda _: 1) -> tuple[Folded | Partial | None, Refusals]:
        """What comes of it, and what was refused, in order.

        Args:
            merge: whether it is a partial result for the parent (else a finished fold); None if nothing was folded.
            votes: how many children the update at a place speaks for.
        """
        refused, folded = self._refused, None
        fitting = [alike for alike in self._alike.values() if alike.misfit is None]
        if len(fitting) > 1:
            fitting.sort(key=lambda alike: -sum(map(votes, alike.places)))
        chosen = fitting[0] if fitting else None
        for alike in self._alike.values():
            if alike is not chosen:
                refused |= dict.fromkeys(alike.places, alike.misfit or UNLIKE)
        if chosen is not None and chosen.fold.count:
            folded = chosen.fold.partial() if merge else chosen.fold.finish()
        return folded, dict(sorted(refused.items()))

    def _take(self, form: Form, places: Sequence[int], values: Sequence[tuple[Update | Partial, float]]) -> None:
        alike = self._alike.get(form)
        if alike is None:
            alike = self._alike[form] = _Alike(fold_named(self._exact), self._misfit(form))
        alike.places += places
        if alike.misfit is None:
            alike.fold.take_all(values, lambda i, why: self._refused.__setitem__(places[i], why))
