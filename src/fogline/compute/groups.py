"""An aggregator's models: what its effects make of them, from values to values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache, partial

import numpy as np

from fogline.aggregation import Folded, Partial, UnusableUpdateError, Update, is_per_number
from fogline.aggregation.gathering import remembered
from fogline.aggregation.rules import Rule, make_rule
from fogline.algorithms import Algorithm, hooks
from fogline.algorithms import group as groups
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.group import Down, GroupModel
from fogline.algorithms.sub_models import has_sub_models
from fogline.compute.folding import Form, FormCheck, RoundFold, form_of
from fogline.compute.links import UNSTAGED, NodeLinks
from fogline.compute.messages import decoded
from fogline.compute.privacy.privacy_part import NO_PART, PrivacyPart
from fogline.compute.whole_updates import WholeUpdates
from fogline.params import Spec, Vector
from fogline.user_code.bugs import PROGRAMMING, CodeError, is_numeric

MEAN = make_rule("mean")


class Groups:
    """What aggregators compute in one job.

    Args:
        algorithm: says what adoptions, moves and group updates compute.
        spec: layout of the model.
        rule: how the updates of an aggregator's children become one.
        part: what the aggregators do for the job's differential privacy.
        links: the stages around the aggregator.
        own_prefix: how the names begin under which its children send, if the rest of each is the child's name; empty:
            names say nothing of who sends.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        spec: Spec,
        rule: Rule = MEAN,
        part: PrivacyPart = NO_PART,
        links: NodeLinks = UNSTAGED,
        own_prefix: str = "",
    ) -> None:
        self.algorithm = algorithm
        self.spec = spec
        self.rule = rule
        self.part = part
        self.links = links
        self.own_prefix = own_prefix
        self.whole = WholeUpdates(spec, algorithm.movement) if has_sub_models(algorithm) else None
        """Lays what devices of smaller models send out over the whole one; None where all train the whole."""
        self._misfit = lru_cache(64)(FormCheck(algorithm.movement, spec).misfit)
        self.scale = cache(partial(hooks.staleness_weight, algorithm))
        """Factor on an update that is that many versions old."""

    def misfit(self, form: Form) -> str | None:
        """Why updates of that form do not fit the model; None if they do."""
        return self._misfit(form)

    def foreign(self, form: Form, child: str) -> str | None:
        """Which vector of an update of that form would be another child's; None if none would."""
        prefix = self.own_prefix
        names = (name for name in form[1::2] if prefix and name.startswith(prefix) and name != prefix + child)
        name = next(names, None)
        return None if name is None else f"Its vector '{name}' is not under the name of {child}, who sent it."

    def unfit(self, value: Update | Partial) -> str | None:
        """Why nothing of a value's form and kind can be folded here, whatever its numbers; None if it can."""
        misfit = self._misfit(form_of(value))
        if misfit is None and isinstance(value, Partial):
            return _refusal(lambda: self.rule.look().suits(value))
        return misfit

    def refusal(self, value: Update | Partial) -> str | None:
        """Why a value by itself cannot be folded here; None if it can."""
        return _refusal(lambda: self.rule.look().take(value))

    def of(self, spec: Spec) -> Groups:
        """The same for a piece of the model."""
        if spec is self.spec:
            return self
        return Groups(self.algorithm, spec, self.rule, self.part, self.links, self.own_prefix)

    def begun(self, group: GroupModel) -> GroupModel:
        """The group before its first round, with what the aggregator keeps for the job's privacy."""
        return group if group.noise is not None or not self.part else replace(group, noise=self.part.begun())

    def fold(self, stays_coded: bool | None = None) -> RoundFold:
        """An empty fold of a round's updates. ``stays_coded``: as in it; None: as the aggregator's links are."""
        fault, links = None if self.part.takes is None else self.part.fault, self.links
        stays = links.stays_coded if stays_coded is None else stays_coded
        return RoundFold(self.rule, self._misfit, fault=fault, stages=links.adds, stays_coded=stays)

    def decoded(self, value: Update | Partial) -> Update | Partial:
        """What a child has sent in no code.

        Raises:
            StageError: it is in none that a child could have sent.
        """
        return decoded(value, self.links.adds)

    def as_update(self, value: Update | Partial) -> Update:
        """A partial result as one update: the mean of what is in it, with the weights and the devices of all.

        Raises:
            UnusableUpdateError: nothing can be folded of it.
        """
        if isinstance(value, Update):
            return value
        fold = self.fold(stays_coded=True)
        fold.take((0,), ((value, 1.0),))
        partial, refused = fold.close(merge=True)
        if not isinstance(partial, Partial):
            raise UnusableUpdateError(refused.get(0, "It has nothing in it."))
        folded = self._finished(partial)
        vectors = {name: _mean(folded, name) for name in folded.sums}
        return Update(vectors, dict(folded.weights), folded.counters, folded.count, code=partial.code)

    def adopt(self, base: GroupModel | None, down: Down) -> GroupModel:
        """The parent's model becomes the group's."""
        group = self.begun(groups.adopt(self.algorithm, self.spec, base, down))
        if base is not None and group.noise is not None and self.part.gives is not None:  # What it gave is given.
            group = replace(group, noise=replace(group.noise, key=group.noise.next_key))
        if down.clip is None or group.noise is None:
            return group
        return replace(group, noise=replace(group.noise, clip=down.clip))

    def send_down(self, group: GroupModel) -> Down:
        """What the group's children get."""
        down = groups.send_down(self.algorithm, group)
        return down if not self.part.adapts or group.noise is None else replace(down, clip=group.noise.clip)

    @property
    def noises(self) -> bool:
        """Whether noise is added to what is folded: then it is wanted as a partial result."""
        return self.part.noising is not None

    def move(
        self, group: GroupModel, folded: Folded | Partial | None, context: AggregatorContext, inside: bool
    ) -> GroupModel:
        """The group moves by its children's updates; where none could be used it stays.

        Raises:
            ValueError: noise cannot be added to them; one sentence.
        """
        if folded is None:
            return group
        if isinstance(folded, Partial):
            noising, state = self.part.noising, group.noise
            assert noising is not None
            assert state is not None
            released, state = noising.released(folded, state, context.population, context.job_round)
            group, folded = replace(group, noise=state), self._finished(released)
        moved = groups.move(self.algorithm, self.spec, group, folded, context, inside)
        if self.rule.remembers:
            moved = replace(moved, rule=remembered(self.rule, folded))
        if not self.part.adapts or moved.noise is None:
            return moved
        return replace(moved, metrics=moved.metrics | {"clip": moved.noise.clip})  # It goes down to all in any case.

    def _finished(self, partial: Partial) -> Folded:
        fold = self.rule.fold()
        fold.merge(partial)
        return fold.finish()

    def group_update(self, group: GroupModel) -> Update:
        """The group's movement becomes an update."""
        return self.part.given(groups.group_update(self.algorithm, self.spec, group), group.noise)


def _mean(folded: Folded, name: str) -> Vector:
    weight, total = folded.weights[name], folded.total(name)
    return folded.mean(name) if is_per_number(weight) or weight else np.zeros_like(total)


def _refusal(work: Callable[[], None]) -> str | None:
    try:
        work()
    except UnusableUpdateError as error:
        return str(error)
    return None


def is_bug(error: CodeError, updates: int) -> bool:
    """Whether what a hook did with so many updates is the developer's doing, and not theirs who sent them.

    No update makes a name that does not exist, and what is in each of several was agreed on; but their numbers may be
    anybody's.
    """
    cause = error.__cause__
    if isinstance(cause, PROGRAMMING):
        return True
    return updates > 1 and not (isinstance(cause, Exception) and is_numeric(cause))
