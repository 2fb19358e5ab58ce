"""The updates of a round as they lie in files, folded piece by piece of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from fogline.aggregation import Folded, Partial, UnusableUpdateError, Update, from_arrays, surely_fit
from fogline.aggregation.attribution import RuleUse, scores_of
from fogline.aggregation.gathering import CombinedFold, Gathered, MixingPlan, as_it_is, plans_of
from fogline.compute.column_blocks import Piece, WholeModel
from fogline.compute.files import Reader, read_update
from fogline.compute.folding import NOTHING, UNLIKE, Form, Refusals, RoundFold, agreeing, finished, form_of
from fogline.compute.groups import Groups
from fogline.compute.messages import NONE
from fogline.nodes.effects import FoldInput
from fogline.nodes.messages import Key
from fogline.params import State, map_arrays
from fogline.stages import Pipeline

T = TypeVar("T")


class RoundMembers:
    """What a round folds. An update that turns out to be unusable in one piece counts in none.

    Args:
        groups: what the whole model's effects compute.
        members: the updates, in canonical order.
        reads: the file of each.
        stages: of the links that they came over.
        rates: whether somebody asks how much of each the rule has used.
        last: what the rule made of the round before, read so.
    """

    def __init__(
        self,
        groups: Groups,
        members: Sequence[FoldInput],
        reads: Mapping[Key, str],
        stages: Pipeline = NONE,
        rates: bool = False,
        last: Callable[[Reader], State] = lambda _: NOTHING,
    ) -> None:
        self._groups = groups
        self._members = members
        self._reads = reads
        self._stages = stages
        self._refused: Refusals = {}
        self._usable = self._admitted()
        self._plans: dict[str, MixingPlan] | None = None
        self._done = 0
        self._rates = rates
        self._last = last
        self._uses: list[dict[str, RuleUse]] = []
        """By child, how much the rule has used of a piece."""

    @property
    def count(self) -> int:
        """How many can be used, as far as is known."""
        return len(self._usable)

    @property
    def refused(self) -> Refusals:
        """Which cannot be used, in order."""
        return dict(sorted(self._refused.items()))

    @property
    def scores(self) -> tuple[tuple[int, float], ...]:
        """How much the rule has used of each update, beside the usual (0 to 1), by its place."""
        scores = scores_of(self._uses)
        places = enumerate(self._members)
        return tuple((place, scores[member.child]) for place, member in places if member.child in scores)

    def surely_fit(self, pieces: Iterable[Piece]) -> bool:
        """Whether one look at each tells that all can be used: piece by piece, unless they are in memory as wholes."""
        looks = (None,) if self._stages else pieces
        return not self._refused and all(self._fits(piece) for piece in looks)

    def _fits(self, piece: Piece | None) -> bool:
        updates = ((self._read(place, piece), self._scale(place)) for place in self._usable)
        return surely_fit(self._groups.rule.look(), updates)

    def fold(self, piece: Piece, merge: bool) -> Folded | Partial | None:
        """Fold a piece of all that can be used; None where there is nothing.

        Args:
            piece: of the model.
            merge: whether to make a partial result for the parent.
        """
        plans = None
        if self._groups.rule.mixes and not isinstance(piece, WholeModel) and not merge:
            plans = {name: plan.at(piece.offset(name, plan.size)) for name, plan in self._planned().items()}
        folded = self._folded(piece, merge, plans)
        if self._rates and isinstance(folded, CombinedFold):
            self._uses.append(folded.use())
        self._done += 1
        return folded

    def coded_sum(self) -> Partial | None:
        """What all come to in the one code that they are in; None where they are in several, or may not stay in it.

        It is short, so it needs no pieces, however long the model is.
        """
        if not self._groups.links.stays_coded or len({self._read(place).code for place in self._usable}) != 1:
            return None
        made = self.fold(WholeModel(self._groups.spec), merge=True)
        return made if isinstance(made, Partial) and made.code else None

    def work(self, work: Callable[[], T]) -> T:
        """Do what folds piece after piece; begin anew where an update turns out to have been none all along."""
        while True:
            self._done, self._uses = 0, []
            try:
                return work()
            except _OneLessError:
                continue

    def _planned(self) -> dict[str, MixingPlan]:
        """What a rule that looks at updates as wholes decides about all pieces of them."""
        if self._plans is None:
            rule, gathered, plans = self._groups.rule, self._folded(None, True), dict[str, MixingPlan]()
            if isinstance(gathered, Gathered):
                try:
                    plans = finished(rule, lambda: plans_of(rule, gathered, self._last(map_arrays)))
                except UnusableUpdateError as error:
                    self._refuse(dict.fromkeys(self._usable, str(error)))
            self._plans = plans
        return self._plans

    def _folded(
        self, piece: Piece | None, merge: bool, plans: Mapping[str, MixingPlan] | None = None
    ) -> Folded | Partial | None:
        """All that can be used, or a piece of it, folded."""
        keep = None if self._stages else as_it_is  # What came through stages is in memory, and not as it lies on disk.
        links = self._groups.links  # No look at the form: pieces are alike, because the wholes are.
        fold = RoundFold(self._groups.rule, keep=keep, plans=plans, stages=links.adds, stays_coded=links.stays_coded)
        for place in self._usable:
            fold.take((place,), ((self._read(place, piece), self._scale(place)),))
        last = NOTHING if merge or piece is None else self._last(piece.read)
        folded, refused = fold.close(merge, last=last)
        self._refuse(refused)
        return folded

    def _refuse(self, refused: Refusals) -> None:
        if refused:
            self._refused |= refused
            self._usable = [place for place in self._usable if place not in refused]
            self._plans = None
            if self._done:
                raise _OneLessError

    def _admitted(self) -> list[int]:
        """The updates that can be read, fit the model and agree with the others; told without reading their numbers,
        but where the job's privacy bounds these."""
        forms: dict[int, Form] = {}
        for place in range(len(self._members)):
            try:
                form = form_of(self._read(place))
            except UnusableUpdateError as error:
                self._refused[place] = str(error)
                continue
            child = self._members[place].child
            misfit = self._groups.misfit(form) or self._groups.foreign(form, child) or self._fault(place)
            if misfit is None:
                forms[place] = form
            else:
                self._refused[place] = misfit
        agreed = set(agreeing(Counter(forms.values())))
        self._refused |= {place: UNLIKE for place, form in forms.items() if form not in agreed}
        return [place for place, form in forms.items() if form in agreed]

    def _fault(self, place: int) -> str | None:
        """Why an update does not keep to the job's differential privacy; None where there is none to keep to."""
        takes = self._groups.part.takes
        return takes.fault(self._read(place)) if takes is not None else None

    def _read(self, place: int, piece: Piece | None = None) -> Update | Partial:
        """An update, or a piece of it."""
        value = self._read_value(self._reads[self._members[place].update], piece)
        if isinstance(value, Update):
            value.child = self._members[place].child
        return value

    def _read_value(self, path: str, piece: Piece | None) -> Update | Partial:
        if self._groups.whole is not None:  # Such a model is in one piece.
            return self._groups.whole.of(read_update(path, stages=self._stages))
        if not self._stages:
            if piece is None:
                return read_update(path)
            return read_update(path, piece.map if self._groups.rule.needs_all else piece.read)
        whole = read_update(path, stages=self._stages)
        if piece is None or isinstance(piece, WholeModel):
            return whole
        return from_arrays(piece.cut(self._groups.decoded(whole).to_arrays()))

    def _scale(self, place: int) -> float:
        return self._groups.scale(self._members[place].staleness)


class _OneLessError(Exception):
    """An update was part of pieces that are done, and is unusable."""
