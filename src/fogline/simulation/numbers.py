"""The values behind the keys that nodes speak of: groups, models sent down, updates sent up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from fogline.aggregation import Folded, Partial, Update, surely_fit
from fogline.aggregation.attribution import scores_of
from fogline.aggregation.gathering import CombinedFold
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.group import GroupModel
from fogline.compute.groups import Groups
from fogline.nodes.effects import Adopt, FoldInput, GroupUpdate, Merge, Move
from fogline.nodes.ledger import AcceptedUpdate, in_order
from fogline.simulation.attacks.adversary import Adversary, Sent
from fogline.simulation.staging import Staging
from fogline.simulation.values import ComputedValue, Folding, ForgedValue, LazyValue, Training
from fogline.simulation.witness import RunWitness
from fogline.user_code.bugs import CodeError

_order = attrgetter("order")


class Numbers:
    """Turns the effects that compute into values.

    Args:
        groups: what they compute, by the name of the aggregator.
        population: devices below each aggregator.
        refused: told of an update that could not be folded: the child and the reason.
        staging: takes what aggregators send through the stages of their links; None where there are none.
        adversary: what malicious nodes send; None where all are honest.
        witness: told of what aggregators fold.
    """

    def __init__(
        self,
        groups: Mapping[str, Groups],
        population: dict[str, int],
        refused: Callable[[str, str], None],
        staging: Staging | None = None,
        adversary: Adversary | None = None,
        witness: RunWitness | None = None,
    ) -> None:
        self._adversary = adversary
        self.spec = next(iter(groups.values())).spec
        self.groups: dict[str, LazyValue] = {}
        self.models: dict[str, LazyValue] = {}
        self.updates: dict[str, LazyValue] = {}
        self._computes = groups
        self._population = population
        self._refused = refused
        self._staging = staging
        self._witness = witness
        self._sent: dict[str, LazyValue] = {}
        """What each aggregator reported last, where its stages remember it."""
        self._moves: dict[str, int] = {}
        self._ready: dict[str, Training] = {}
        self._waiting: dict[int, dict[str, Training]] = {}
        """Training that was begun from a model that is not computed yet, by the model's order."""

    def set_group(self, model: str, group: LazyValue, base: str | None = None) -> None:
        """A node's numbers at a version, and what its children get of them. ``base``: the version before."""
        self.groups[model] = group
        node, staging = _node(model), self._staging
        down = ComputedValue(partial(_at, node, self._computes[node].send_down), group)
        if staging is not None and staging.differs(node):
            held = LazyValue(None) if base is None else self.models[base]
            down = ComputedValue(partial(_at, node, staging.next_model, node, model), down, held)
        elif staging is not None and staging.gives(node):
            down = ComputedValue(partial(_at, node, staging.model, node, model), down)
        self.models[model] = down

    def adopt(self, effect: Adopt) -> None:
        """The parent's model becomes the group's."""
        base = LazyValue(None) if effect.base is None else self.groups[effect.base]
        node = _node(effect.model)
        self.set_group(
            effect.model,
            ComputedValue(partial(_at, node, self._computes[node].adopt), base, self.models[effect.source]),
            effect.base,
        )

    def move(self, node: str, effect: Move) -> tuple[LazyValue, LazyValue]:
        """The group moves by its members' updates; its next model, and what the updates come to."""
        made = self._moves[node] = self._moves.get(node, -1) + 1
        context = AggregatorContext(self._population[node], made, effect.lane, effect.lanes, effect.round)
        computes = self._computes[node]
        place = f"{node}, round {effect.round + 1}"
        base = self.groups[effect.base]
        folded = self._fold(node, effect.members, computes.noises, place, base if computes.rule.remembers else None)

        def move(group: GroupModel, folded: Folded | Partial | None) -> GroupModel:
            return _at(place, computes.move, group, folded, context, effect.inside)

        group = ComputedValue(move, base, folded)
        self.set_group(effect.model, group, effect.base)
        return group, folded

    def merge(self, node: str, effect: Merge) -> None:
        """Children's updates become one partial result."""
        folded = self._fold(node, effect.members, True, f"{node}, round {effect.round + 1}")
        self.updates[effect.update] = self._report(node, effect.round, folded)

    @staticmethod
    def scores(folded: LazyValue) -> list[tuple[str, float]]:
        """How much the rule has used of each child's update in what they came to, which is computed."""
        result = folded.result
        return list(scores_of([result.use() if isinstance(result, CombinedFold) else {}]).items())

    def group_update(self, node: str, effect: GroupUpdate) -> None:
        """The group's movement becomes an update."""
        made = ComputedValue(partial(_at, node, self._computes[node].group_update), self.groups[effect.base])
        self.updates[effect.update] = self._report(node, effect.round, made)

    def _report(self, node: str, round_: int, value: LazyValue) -> LazyValue:
        """What the parent has of an aggregator's report in a round.

        Its stages may remember the one before, so that comes first, also where nobody wants it any more.
        """
        staging = self._staging
        if staging is None or not staging.sends(node):
            return value

        def sent(value: Update | Partial | None, _: object) -> Update | Partial | None:
            return _at(node, staging.from_aggregator, node, round_, value)

        self._sent[node] = made = ComputedValue(sent, value, self._sent.get(node, LazyValue()))
        return made

    def forget(self, keys: Iterable[str]) -> None:
        """Nobody will name these keys again."""
        for key in keys:
            value = self.updates.pop(key, None)
            if isinstance(value, Training) and value.model is not None:
                self._waiting.get(value.model.order, {}).pop(key, None)
            if value is None:  # A key names an update or a model.
                self.models.pop(key, None)
                self.groups.pop(key, None)

    def gather(
        self, node: str, accepted: Sequence[AcceptedUpdate], failed: Callable[[AcceptedUpdate, str], None]
    ) -> list[LazyValue]:
        """Fold updates that devices of one aggregator reported, those of a version together, and put what comes of it
        in their place; what has to be computed.

        ``failed`` is told of every one that turns out to be none, once it is computed.
        """
        versions: dict[int, list[AcceptedUpdate]] = {}
        for one in in_order(accepted):
            versions.setdefault(one.version, []).append(one)
        made: list[LazyValue] = []
        for alike in versions.values():
            members = [(self.updates[one.update], 1.0) for one in alike]
            computes = self._computes[node]
            names = [one.child for one in alike] if computes.rule.needs_all else ()
            folding = Folding(
                computes.fold(),
                members,
                True,
                lambda i, why, alike=alike: failed(alike[i], why),
                children=names,
                seen=self._seen(node, [[one.child] for one in alike]),
            )
            self.updates.update(dict.fromkeys((one.update for one in alike), folding))
            made.append(folding)
        return made

    def unfit(self, node: str, members: Sequence[FoldInput]) -> dict[int, str]:
        """Which of an aggregator's updates, all of which are computed, cannot be folded together: their places, and
        why."""
        computes = self._computes[node]
        values = [(self.updates[one.update].result, computes.scale(one.staleness)) for one in members]
        places = [place for place, (value, _) in enumerate(values) if value is not None]
        some = [values[place] for place in places]
        if surely_fit(computes.rule.look(), some):  # Mostly one look at each tells.
            return {}
        fold = computes.fold()
        fold.take(places, some)
        return fold.close(merge=True)[1]

    def forge(self, node: str, model: str, accepted: Sequence[AcceptedUpdate], replaying: bool) -> None:
        """Put what malicious children send in place of their reports, which are computed; each is forged once.

        Args:
            node: the aggregator that has the reports.
            model: its newest.
            accepted: those that wait there.
            replaying: whether a resumed run repeats its past, without numbers.
        """
        adversary = self._adversary
        if adversary is None:
            return
        found = [(one.child, one.update, self.updates[one.update]) for one in accepted]
        new = frozenset(key for child, key, value in found if adversary.lies(child) and type(value) is not ForgedValue)
        if not new:
            return
        forged: dict[str, Update | Partial] = {}
        if not replaying:
            opened = self._computes[node].decoded
            sent = [Sent(child, key, opened(value.result)) for child, key, value in found if value.result is not None]
            group = self.groups[model]
            forged = adversary.forge(self._computes[node].rule, sent, new, group.result.rule if group.done else {})
        self.updates.update((key, ForgedValue(forged.get(key))) for key in new)

    def begin(self, update: str, training: Training) -> None:
        """A device trains; :meth:`in_flight` gives it from when its model is there until it is computed."""
        self.updates[update] = training
        model = training.model
        assert model is not None
        if model.done:
            self._ready[update] = training
        else:
            self._waiting.setdefault(model.order, {})[update] = training

    def settled(self, value: LazyValue) -> None:
        """A value was computed: training may have waited for it."""
        self._ready.update(self._waiting.pop(value.order, ()))

    def in_flight(self) -> list[Training]:
        """Training that was begun and could run now, though nobody needs it yet."""
        ready, updates = self._ready, self.updates
        self._ready = {key: one for key, one in ready.items() if not one.done and updates.get(key) is one}
        return sorted(self._ready.values(), key=_order)

    def _seen(self, node: str, children: Sequence[Sequence[str]]) -> Callable[[int, LazyValue], None] | None:
        """Tells the witness of what an aggregator folds. ``children``: whose the value at each place is."""
        witness, opened = self._witness, self._computes[node].decoded
        if witness is None:
            return None
        return lambda place, value: witness.folded(node, children[place], value, opened(value.result))

    def _fold(
        self,
        node: str,
        members: tuple[FoldInput, ...],
        merge: bool,
        where: str,
        base: LazyValue | None = None,
    ) -> Folding:
        computes = self._computes[node]
        inputs: dict[int, tuple[LazyValue, float]] = {}
        children: dict[int, list[str]] = {}
        for member in members:
            value = self.updates[member.update]
            if value.order not in inputs:  # Some were folded together already, and are equally stale.
                inputs[value.order] = value, computes.scale(member.staleness)
                children[value.order] = []
            children[value.order].append(member.child)
        of = list(children.values())

        def refused(place: int, why: str) -> None:
            for child in of[place]:
                self._refused(child, why)

        names = [children[0] for children in of] if computes.rule.needs_all else ()
        votes: Callable[[int], int] = lambda place: len(of[place])  # noqa: E731
        seen = self._seen(node, of)
        return Folding(computes.fold(), list(inputs.values()), merge, refused, votes, where, names, seen, base)


def _at(place: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; a bug that it meets is told to have been met at that place."""
    try:
        return function(*arguments)
    except CodeError as error:
        error.at(place)
        raise


def _node(model: str) -> str:
    """The node whose model that is, by its key."""
    return model.partition("@")[0]
