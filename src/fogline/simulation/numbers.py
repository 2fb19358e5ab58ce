"""The values behind the keys that nodes speak of: groups, models sent down, updates sent up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from fogline.aggregation import Folded
from fogline.algorithms import Algorithm, hooks
from fogline.algorithms import group as groups
from fogline.algorithms.base import Group
from fogline.algorithms.group import Down, GroupModel
from fogline.nodes.effects import Adopt, Lift, Member, Merge, Move
from fogline.params import Spec
from fogline.simulation.values import Folding, Operation, Training, Value
from fogline.training.bugs import CodeError


class Numbers:
    """Turns the effects that compute into values.

    Args:
        algorithm: says what they compute.
        spec: layout of the model.
        exact: whether folds are exact.
        population: devices below each aggregator.
        refused: told of an update that could not be folded: the child and the reason.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        spec: Spec,
        exact: bool,
        population: dict[str, int],
        refused: Callable[[str, str], None],
    ) -> None:
        self.groups: dict[str, Value] = {}
        self.models: dict[str, Value] = {}
        self.updates: dict[str, Value] = {}
        self._algorithm = algorithm
        self.spec = spec
        self._exact = exact
        self._population = population
        self._refused = refused
        self._moves: dict[str, int] = {}

    def set_group(self, model: str, group: Value) -> None:
        """A node's numbers at a version, and what its children get of them."""
        self.groups[model] = group
        self.models[model] = Operation(partial(_at, _node(model), groups.send_down, self._algorithm), group)

    def adopt(self, effect: Adopt) -> None:
        """The parent's model becomes the group's."""
        base = Value(None) if effect.base is None else self.groups[effect.base]
        self.set_group(
            effect.model, Operation(partial(_at, _node(effect.model), self._adopt), base, self.models[effect.source])
        )

    def move(self, node: str, effect: Move) -> Value:
        """The group moves by its members' updates."""
        made = self._moves[node] = self._moves.get(node, -1) + 1
        facts = Group(self._population[node], made, effect.lane, effect.lanes)
        folded = self._fold(effect.members, merge=False)
        place = f"{node}, round {effect.round + 1}"
        move = partial(_at, place, self._move, facts, effect.inside)
        group = Operation(move, self.groups[effect.base], folded)
        self.set_group(effect.model, group)
        return group

    def merge(self, effect: Merge) -> None:
        """Children's updates become one partial result."""
        self.updates[effect.update] = self._fold(effect.members, merge=True)

    def lift(self, effect: Lift) -> None:
        """The group's movement becomes an update."""
        lift = partial(_at, _node(effect.base), groups.lift, self._algorithm, self.spec)
        self.updates[effect.update] = Operation(lift, self.groups[effect.base])

    def forget(self, keys: Iterable[str]) -> None:
        """Nobody will name these keys again."""
        for key in keys:
            self.updates.pop(key, None)
            self.models.pop(key, None)
            self.groups.pop(key, None)

    def in_flight(self) -> list[Training]:
        """Training that could run now, though nobody needs it yet."""
        return [
            value
            for value in self.updates.values()
            if isinstance(value, Training) and not value.done and value.model is not None and value.model.done
        ]

    def _fold(self, members: tuple[Member, ...], merge: bool) -> Folding:
        weight = partial(hooks.staleness_weight, self._algorithm)
        inputs = [(self.updates[member.update], weight(member.staleness)) for member in members]
        return Folding(inputs, self._exact, merge, lambda i, why: self._refused(members[i].child, why))

    def _adopt(self, base: GroupModel | None, down: Down) -> GroupModel:
        return groups.adopt(self._algorithm, self.spec, base, down)

    def _move(self, facts: Group, inside: bool, group: GroupModel, folded: Folded | None) -> GroupModel:
        if folded is None:  # No update could be used.
            return group
        return groups.move(self._algorithm, self.spec, group, folded, facts, inside)


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
