"""The fold of a round: the one loop over what children sent, and what of it is refused.

An update is refused where its vectors do not fit the model, where one has another shape than under that name in most
updates of the round, and where the fold itself refuses it: numbers that are not finite, a sum that overflows, the other
kind of fold. A name may be missing: of several models, a device may have trained one.

What comes in a linear code is added in it, those of one seed together, and each sum is decoded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from fogline.aggregation import Fold, Folded, Partial, UnusableUpdateError, Update
from fogline.aggregation.gathering import GatheringFold, Keep, MixingPlan
from fogline.aggregation.geometry import WrongRuleError
from fogline.aggregation.rules import Chain, Rule
from fogline.algorithms.hooks import BUFFERS
from fogline.compute.messages import NONE, decoded
from fogline.params import Spec, State
from fogline.stages import Pipeline, StageError
from fogline.stages.linear import lengths
from fogline.user_code.bugs import CodeError, attempt, blame, line_of_definition

Form = tuple[Any, ...]
"""The shapes of an update's counters and of its vectors, each of these after its name."""
Refusals = dict[int, str]
"""Places of updates that cannot be used, and why."""
Result = TypeVar("Result")
NOTHING: State = {}
UNLIKE = "Its vectors do not have the shapes that those of the others of its round have."


def form_of(value: Update | Partial) -> Form:
    """The form of an update; a partial result has that of the updates in it, and a code that of what it is of."""
    vectors = value.sums if isinstance(value, Partial) else value.vectors
    if value.code:
        long = lengths(value.code)
        sizes = {name: (long[name],) if name in long else vector.shape for name, vector in vectors.items()}
        return (value.counters.shape, *(part for name in sorted(sizes) for part in (name, sizes[name])))
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
        movement: name of the vector that moves the model, or the pattern of those that do.
        spec: layout of the model.
    """

    movement: str
    spec: Spec

    def misfit(self, form: Form) -> str | None:
        """Why an update of that form does not fit the model; None if it does."""
        counters, names = form[0], form[1::2]
        if counters != (self.spec.integers,):
            return f"It has counters of shape {counters} where the model has {(self.spec.integers,)}."
        buffers = self.spec.floats - self.spec.trainable
        if buffers and BUFFERS not in names:
            return f"It has no vector '{BUFFERS}', of which the model has {buffers} numbers."
        for name, shape in zip(names, form[2::2], strict=True):
            moves = fnmatchcase(name, self.movement)
            wanted = (self.spec.trainable if moves else buffers,)
            if (moves or name == BUFFERS) and shape != wanted:
                return f"Its vector '{name}' has shape {shape} where the model has {wanted}."
        return None


def agreeing(forms: Mapping[Form, int]) -> list[Form]:
    """The forms in which everything that has a name has the shape that most have under it, so that whoever comes first
    does not decide for all.

    Args:
        forms: how many updates have each.
    """
    shapes: dict[Any, Counter[Any]] = {}
    for form, votes in forms.items():
        for name, shape in _shapes(form):
            shapes.setdefault(name, Counter())[shape] += votes
    usual = {name: found.most_common(1)[0][0] for name, found in shapes.items()}
    return [form for form in forms if all(usual[name] == shape for name, shape in _shapes(form))]


def _shapes(form: Form) -> list[tuple[Any, Any]]:
    """Names and shapes of a form; its counters have no name."""
    return [(None, form[0]), *((name, shape) for name, shape in zip(form[1::2], form[2::2], strict=True))]


def finished(rule: Rule, work: Callable[[], Result]) -> Result:
    """What a rule makes of a round's updates.

    Raises:
        UnusableUpdateError: the updates are too few, or so large that the rule cannot combine them.
        CodeError: the rule is wrong.
    """
    last = rule.links[-1] if isinstance(rule, Chain) else rule
    result = attempt(work)
    if isinstance(result, UnusableUpdateError):
        raise result
    if isinstance(result, WrongRuleError):
        hook: Any = result.hook or last.combine
        raise CodeError(f"the rule {type(hook.__self__).__name__} {result}", line_of_definition(hook))
    if isinstance(result, Exception):
        raise blame("a rule of the list" if isinstance(rule, Chain) else f"the rule {type(rule).__name__}", result)
    return result


@dataclass(slots=True)
class _Alike:
    """The updates of one form, in one code."""

    form: Form
    code: bytes
    fold: Fold
    misfit: str | None
    places: list[int] = field(default_factory=list[int])

    def partial(self) -> Partial:
        """What they come to, in their code."""
        made = self.fold.partial()
        made.code = self.code
        return made


class RoundFold:
    """Folds updates in the order in which they are handed over, and keeps none of them.

    Which shapes are the usual ones is known when all were seen. Until then each form has a fold of its own: mostly
    there is one.

    Args:
        rule: how updates become one.
        misfit: why an update of some form does not fit the model; None if it does.
        keep: see :meth:`fogline.aggregation.rules.Rule.fold`.
        plans: see there.
        fault: why an update may not be folded, by its numbers; None: whatever the fold itself takes.
        stages: of the link that the updates came over, whose linear code they may be in.
        stays_coded: whether a partial result of updates that are all in one code stays in it.
    """

    def __init__(
        self,
        rule: Rule,
        misfit: Callable[[Form], str | None] = lambda _: None,
        keep: Keep | None = None,
        plans: Mapping[str, MixingPlan] | None = None,
        fault: Callable[[Update | Partial], str | None] | None = None,
        stages: Pipeline = NONE,
        stays_coded: bool = False,
    ) -> None:
        self._rule = rule
        self._misfit = misfit
        self._keep, self._plans = keep, plans
        self._fault = fault
        self._stages, self._stays_coded = stages, stays_coded
        self._alike: dict[tuple[Form, bytes], _Alike] = {}
        self._refused: Refusals = {}

    def take(self, places: Sequence[int], values: Sequence[tuple[Update | Partial, float]]) -> None:
        """Fold more of them.

        Args:
            places: of the updates in the round, each once, ascending.
            values: the updates, each with its scale.
        """
        if self._fault is not None:
            whys = [self._fault(value) for value, _ in values]
            self._refused |= {place: why for place, why in zip(places, whys, strict=True) if why}
            right = [i for i, why in enumerate(whys) if not why]
            places, values = [places[i] for i in right], [values[i] for i in right]
        if not values:
            return
        if len(values) == 1:
            self._take(_key(values[0][0]), places, values)
            return
        forms = [_key(value) for value, _ in values]
        found = set(forms)
        if len(found) == 1:
            self._take(forms[0], places, values)
            return
        for form in sorted(found, key=forms.index):
            some = [i for i, other in enumerate(forms) if other == form]
            self._take(form, [places[i] for i in some], [values[i] for i in some])

    def close(
        self, merge: bool, votes: Callable[[int], int] = lambda _: 1, last: State = NOTHING
    ) -> tuple[Folded | Partial | None, Refusals]:
        """What comes of it, and what was refused, in order.

        Args:
            merge: whether it is a partial result for the parent (else a finished fold); None if nothing was folded.
            votes: how many children the update at a place speaks for.
            last: what the rule made of the round before, by name, where it remembers that.

        Raises:
            CodeError: a rule of the developer's own is wrong.
        """
        refused = self._refused
        fitting = [alike for alike in self._alike.values() if alike.misfit is None]
        agreed = {alike.form for alike in fitting}
        if len(agreed) > 1:
            said = Counter[Form]()
            for alike in fitting:
                said[alike.form] += sum(map(votes, alike.places))
            agreed = set(agreeing(said))
        for alike in self._alike.values():
            if alike.form not in agreed:
                refused |= dict.fromkeys(alike.places, alike.misfit or UNLIKE)
        joined = self._joined([alike for alike in fitting if alike.form in agreed], merge)
        folded = None
        if joined is not None and joined.fold.count:
            try:
                if isinstance(joined.fold, GatheringFold):
                    joined.fold.last = last
                folded = joined.partial() if merge else finished(self._rule, joined.fold.finish)
            except UnusableUpdateError as error:
                refused |= {place: str(error) for place in joined.places if place not in refused}
        return folded, dict(sorted(refused.items()))

    def _joined(self, agreed: Sequence[_Alike], merge: bool) -> _Alike | None:
        """All that agree as one; in a code only if it may stay in it, and all are in the same."""
        if not agreed:
            return None
        one = agreed[0]
        stays = merge and self._stays_coded and {alike.code for alike in agreed} == {one.code}
        if one.code and not stays:
            one = _Alike(one.form, b"", self._new_fold(), None)
            agreed = (one, *agreed)
        for alike in agreed[1:]:
            one.places += alike.places
            try:
                made = alike.partial()
                one.fold.take(made if stays else decoded(made, self._stages))
            except (UnusableUpdateError, StageError) as error:  # Together they overflow, say.
                self._refused |= dict.fromkeys(alike.places, str(error))
        return one

    def _take(
        self, key: tuple[Form, bytes], places: Sequence[int], values: Sequence[tuple[Update | Partial, float]]
    ) -> None:
        alike = self._alike.get(key)
        if alike is None:
            fold, (form, code) = self._new_fold(), key
            if code and not fold.adds_codes:
                self._take((form, b""), places, [(decoded(value, self._stages), scale) for value, scale in values])
                return
            alike = self._alike[key] = _Alike(form, code, fold, self._misfit(form))
        alike.places += places
        if alike.misfit is None:
            alike.fold.take_all(values, lambda i, why: self._refused.__setitem__(places[i], why))

    def _new_fold(self) -> Fold:
        return self._rule.fold(self._keep, self._plans)


def _key(value: Update | Partial) -> tuple[Form, bytes]:
    """What updates have in common that are folded together."""
    return form_of(value), value.code
