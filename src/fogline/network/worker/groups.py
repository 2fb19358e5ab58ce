"""An aggregator's numbers, from files to files: the same functions that the simulator calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from fogline.aggregation import Folded, Partial, UnusableUpdateError, fold_named, surely_fit
from fogline.algorithms import Algorithm, hooks
from fogline.algorithms import group as groups
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.group import GroupModel
from fogline.network.worker.files import read_group, read_model, read_update, write
from fogline.network.worker.requests import Adopt, Lift, Member, Merge, Move, Sift, Sifted, Written
from fogline.params import Spec
from fogline.training.bugs import PROGRAMMING, CodeError, is_numeric

Refused = list[tuple[str, str]]
Form = frozenset[tuple[str, tuple[int, ...]]]


class Groups:
    """Carries out what an aggregator's state machine decided.

    Args:
        algorithm: says what moves and merges compute.
        spec: layout of the model.
        exact: whether folds are exact.
    """

    def __init__(self, algorithm: Algorithm, spec: Spec, exact: bool) -> None:
        self.algorithm = algorithm
        self.spec = spec
        self.exact = exact

    def put(self, group: GroupModel, group_path: str, model_path: str) -> None:
        """Write a group, and what its children get."""
        write(group_path, group)
        write(model_path, groups.send_down(self.algorithm, group))

    def adopt(self, request: Adopt) -> Written:
        """The parent's model becomes the group's."""
        base = None if request.base is None else read_group(request.base)
        self.put(
            groups.adopt(self.algorithm, self.spec, base, read_model(request.source)), request.group, request.model
        )
        return Written()

    def sift(self, request: Sift) -> Sifted:
        """Which updates would be refused. Mostly one look at each tells that none would."""
        return Sifted() if self._surely_fit(request.members) else Sifted(tuple(self._refusals(request.members)))

    def _surely_fit(self, members: Sequence[Member]) -> bool:
        forms = self._forms(members)
        if len(forms) < len(members) or len(set(forms.values())) > 1:
            return False
        weight = partial(hooks.staleness_weight, self.algorithm)
        return surely_fit(self.exact, ((read_update(m.update), weight(m.staleness)) for m in members))

    def _refusals(self, members: Sequence[Member]) -> Refused:
        refused: Refused = []
        self._fold(members, True, refused)
        return refused

    def move(self, request: Move) -> Written:
        """The group moves by its members' updates; where none could be used it stays."""
        refused: Refused = []
        group, folded = read_group(request.base), self._fold(request.members, False, refused)
        if folded is not None:
            assert isinstance(folded, Folded)
            facts = AggregatorContext(request.population, request.round, request.lane, request.lanes)
            try:
                self._check(folded)
                group = groups.move(self.algorithm, self.spec, group, folded, facts, request.inside)
            except (ValueError, CodeError) as error:
                if isinstance(error, CodeError) and _is_bug(error, len(request.members) - len(refused)):
                    raise
                # Whoever sent them, the job outlives them.
                refused = [(member.child, f"the round's updates cannot be used: {error}") for member in request.members]
        self.put(group, request.group, request.model)
        return Written(tuple(refused))

    def merge(self, request: Merge) -> Written:
        """Children's updates become one partial result."""
        refused: Refused = []
        merged = self._fold(request.members, True, refused)
        if merged is not None:
            assert isinstance(merged, Partial)
            write(request.update, merged)
        return Written(tuple(refused), empty=merged is None)

    def lift(self, request: Lift) -> Written:
        """The group's movement becomes an update."""
        write(request.update, groups.group_update(self.algorithm, self.spec, read_group(request.base)))
        return Written()

    def _fold(self, members: Sequence[Member], merge: bool, refused: Refused) -> Folded | Partial | None:
        fold, forms = fold_named(self.exact), self._forms(members)
        usual = Counter(forms.values()).most_common(1)
        for member in members:
            try:
                if member.update in forms and forms[member.update] != usual[0][0]:
                    raise UnusableUpdateError("Its vectors are not those that the others of its round have.")
                fold.take(read_update(member.update), hooks.staleness_weight(self.algorithm, member.staleness))
            except UnusableUpdateError as error:
                refused.append((member.child, str(error)))
        if not fold.count:
            return None
        return fold.partial() if merge else fold.finish()

    def _check(self, folded: Folded) -> None:
        """Refuse vectors that would be stretched over the model."""
        for name, wanted in (
            (self.algorithm.movement, self.spec.trainable),
            (groups.BUFFERS, self.spec.floats - self.spec.trainable),
        ):
            if name in folded.sums and folded.sums[name].size != wanted:
                raise ValueError(f"'{name}' has {folded.sums[name].size} numbers, not {wanted}")

    def _forms(self, members: Sequence[Member]) -> dict[str, Form]:
        """Names and shapes in each update that can be read: what the first one has must not decide for all."""
        forms: dict[str, Form] = {}
        for member in members:
            with suppress(UnusableUpdateError):
                arrays = read_update(member.update).to_arrays()
                named = (name for name in arrays if name != "partial" and not name.startswith("double/"))
                forms[member.update] = frozenset(
                    (name.replace("sum/", "vector/", 1), arrays[name].shape) for name in named
                )
        return forms


def _is_bug(error: CodeError, updates: int) -> bool:
    """Whether what a hook did with so many updates is the developer's doing, and not theirs.

    No update makes a name that does not exist, and what is in each of several was agreed on; but their numbers may be
    anybody's.
    """
    cause = error.__cause__
    if isinstance(cause, PROGRAMMING):
        return True
    return updates > 1 and not (isinstance(cause, Exception) and is_numeric(cause))
