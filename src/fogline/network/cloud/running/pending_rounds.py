"""Rounds of a job that are over, and wait to be judged and written into its history."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fogline.monitoring.result import Row
from fogline.network.node.participation.replay import ModelMoved
from fogline.network.node.values import ValueStore
from fogline.nodes.messages import Key
from fogline.storage import BlobRef


class PendingRound(NamedTuple):
    """A round that is over."""

    move: ModelMoved
    devices: int
    group: BlobRef | None
    """The model it came to, held until it is released; None where the cloud died before it was judged, and a newer one
    has taken its place."""

    def row(self, counts: Mapping[str, float]) -> Row:
        """What the history says of it before it is judged. ``counts``: of mishaps so far."""
        return {
            "round": self.move.round + 1,
            "seconds": self.move.at,
            "wall": self.move.at,
            "train_loss": float("nan"),
            "updates": float(self.move.updates),
            "devices": float(self.devices),
            **counts,
        }


class PendingRounds:
    """In order. After a crash, and where the state machine is made anew, all moves are told again: those that the
    history has are not taken, and none counts twice.

    Args:
        value_store: holds their models.
        history: rows that are written.
    """

    def __init__(self, value_store: ValueStore, history: Sequence[Row]) -> None:
        self._value_store = value_store
        self._heard = int(history[-1]["round"]) if history else 0
        self._hops: dict[Key, int] = {}
        """Devices of the round that is not over, by the model that they moved to: a ring moves it with one after the
        other."""
        self._hopping = -1
        self._waiting: deque[PendingRound] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def hear(self, move: ModelMoved, group: BlobRef | None) -> bool:
        """The model moved, to that group's; whether a round is over with it that nobody has heard of."""
        if move.round < self._heard:
            return False
        if move.round != self._hopping:
            self._hopping, self._hops = move.round, {}
        self._hops[move.model] = move.devices
        if not move.final:
            return False
        self._heard = move.round + 1
        if group is not None:
            self._value_store.keep(group)
        self._waiting.append(PendingRound(move, sum(self._hops.values()), group))
        return True

    def take(self) -> PendingRound:
        """The oldest; its model is the caller's to release."""
        return self._waiting.popleft()

    def drop(self) -> None:
        """Nobody wants them any more."""
        self._value_store.release([one.group for one in self._waiting if one.group is not None])
        self._waiting.clear()
