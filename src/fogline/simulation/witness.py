"""Who looks on at a simulation: sees what nodes get, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fogline.aggregation import Partial, Update
from fogline.nodes.effects import Move
from fogline.params import Params
from fogline.simulation.values import LazyValue, Training
from fogline.training.task import Task


class RunWitness:
    """Is told what a run computes, as it is computed; an heir overrides what it wants to see."""

    def begins(self, task: Task, shared: Params) -> None:
        """A run is about to begin.

        Args:
            task: as the run has it: with its home, and on its data.
            shared: the first model, what devices and aggregators share of it.
        """

    def trained(self, training: Training) -> None:
        """A device's local round was computed; its plan, and the model that the device got, can still be seen."""

    def folded(self, node: str, children: Sequence[str], value: LazyValue, result: Update | Partial) -> None:
        """An aggregator has taken up a value: what its parent or its device sent, as it came off the link.

        Args:
            node: the aggregator.
            children: whose value it is; several of one that they have exchanged steps for.
            value: a ``Training`` where it is a device's own.
            result: of the value, in no code.
        """

    def moved(self, move: Move, group: LazyValue) -> None:
        """The root's model has moved; the group is computed where the move is final."""
