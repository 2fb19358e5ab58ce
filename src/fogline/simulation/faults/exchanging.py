"""An exchange in the fault world. Beside the contributions that every value stands for there are real arrays, so that
what the parent's half comes to can be compared with what is said to be in it."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import cast

import numpy as np

from fogline.aggregation import Arrays, Partial, Update
from fogline.compute.exchange import EMPTY, child_step, combined, first_state, parent_step, why_none
from fogline.exchanges import Exchange, ExchangeError
from fogline.nodes.effects import ChildStep, Combine, ParentStep
from fogline.nodes.events import StepComputed
from fogline.nodes.messages import Key
from fogline.simulation.faults.checks import Contributions, InvariantError, value_of

Store = dict[Key, Contributions]
ArrayStore = dict[Key, Arrays]


def trained(number: int) -> Arrays:
    """The update of a training: its number, so that a sum tells which ones are in it."""
    return Update({"delta": np.array([number], np.float64)}, {"delta": 1.0}).to_arrays()


class ExchangeInWorld:
    """Carries out an exchange's effects on the two stores of a machine.

    Args:
        exchange: what devices and their aggregators do.
        seed: of the plan.
    """

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self._exchange = exchange
        self._seed = seed

    def child(self, effect: ChildStep, store: Store, arrays: ArrayStore) -> StepComputed:
        """A device's half of a step."""
        state, received = _of(arrays, effect.child, effect.state), _of(arrays, effect.child, effect.received)
        if effect.number == 0:
            drawn = blake2b(f"{self._seed}/{effect.state}".encode(), digest_size=32).digest()
            state = first_state(state, drawn, effect.child)
        try:
            sent, after = child_step(self._exchange, effect.number, state, received)
        except ExchangeError as error:
            return StepComputed(effect.task, effect.number, failure=str(error))
        for key, made in ((effect.payload, sent), (effect.after, after)):
            store[key], arrays[key] = value_of(store, effect.child, effect.state), made.arrays
        return StepComputed(effect.task, effect.number)

    def parent(self, name: str, effect: ParentStep, store: Store, arrays: ArrayStore) -> StepComputed:
        """An aggregator's half of a step."""
        payloads = {child: _of(arrays, name, key) for child, key in effect.payloads}
        try:
            replies, after = parent_step(self._exchange, effect.number, _of(arrays, name, effect.state), payloads)
        except ExchangeError as error:
            return StepComputed(effect.first, effect.number, failure=str(error))
        keys = dict(effect.replies)
        made = {keys[child]: reply for child, reply in replies.items()}
        for key, value in {**made, effect.after: after}.items():
            store[key], arrays[key] = (), value.arrays
        return StepComputed(effect.first, effect.number, tuple(made))

    def combine(self, name: str, effect: Combine, store: Store, arrays: ArrayStore) -> None:
        """What is folded in place of the reports of a round.

        Raises:
            InvariantError: it is not the sum of those that are said to be in it.
        """
        inside: list[tuple[str, int]] = []
        result: Update | Partial | None = None
        out: Mapping[str, str] = {}
        try:
            result, out = combined(self._exchange, *self._reported(name, effect, arrays))
        except ExchangeError:
            out = {member.child: "" for member in effect.members}
        for member in effect.members:
            if member.child not in out:
                inside += value_of(store, name, member.update)
        total = 0.0 if result is None else float(cast("Partial", result).sums["delta"].sum())
        if total != sum(number for _, number in inside):
            raise InvariantError("twice", f"an exchange of {name} came to {total}, but {inside} are in it")
        store[effect.update] = tuple(inside)

    def failed(self, name: str, effect: Combine, arrays: ArrayStore) -> dict[str, str]:
        """Children whose reports would not be in the result, and why."""
        return why_none(self._exchange, *self._reported(name, effect, arrays))

    def _reported(self, name: str, effect: Combine, arrays: ArrayStore) -> tuple[Arrays, dict[str, Arrays]]:
        payloads = {member.child: _of(arrays, name, member.update) for member in effect.members}
        return _of(arrays, name, effect.state), payloads


def _of(arrays: ArrayStore, node: str, key: Key | None) -> Arrays:
    """The arrays behind a key, which must be there."""
    if key is None:
        return EMPTY
    if key not in arrays:
        raise InvariantError("missing", f"{node} needs {key}, which it does not have")
    return arrays[key]
