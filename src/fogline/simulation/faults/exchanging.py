"""An exchange in the fault world. Beside the contributions that every value stands for there are real arrays, so that
what the parent's half comes to can be compared with what is said to be in it."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np

from fogline.aggregation import Arrays, Partial, Update
from fogline.compute.exchange import EMPTY, child_step, combined, parent_step, simulated_state, why_none
from fogline.exchanges import Exchange, ExchangeError
from fogline.nodes.effects import ChildStep, Combine, ParentStep
from fogline.nodes.events import StepComputed
from fogline.nodes.messages import Key
from fogline.simulation.faults.checks import Contributions, InvariantError, value_of

Store = dict[Key, Contributions]
ArrayStore = dict[Key, Arrays]


def update_of(value: Contributions) -> Arrays:
    """What a child brings: the numbers of its trainings, added up, so that a sum tells which ones are in it."""
    total = float(sum(number for _, number in value))
    return Update({"delta": np.array([total])}, {"delta": 1.0}).to_arrays()


class ExchangeInWorld:
    """Carries out an exchange's effects on the two stores of a machine.

    Args:
        exchange: what children and their aggregators do.
        seed: of the plan.
    """

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self._exchange = exchange
        self._seed = seed
        self._brought: dict[Key, dict[str, Contributions]] = {}
        """What each child has brought first, by the key of the parent's state after a step. What a liar sends instead
        in a later one does not change what it has brought before."""

    def child(self, effect: ChildStep, store: Store, arrays: ArrayStore) -> StepComputed:
        """A child's half of a step."""
        state, received = _of(arrays, effect.child, effect.state), _of(arrays, effect.child, effect.received)
        done = StepComputed(effect.task, effect.number, upward=True)
        try:
            if effect.number == 0:
                state = simulated_state(self._exchange, state, effect.child, self._seed, effect.state)
            sent, after = child_step(self._exchange, effect.number, state, received)
        except ExchangeError as error:
            return msgspec.structs.replace(done, failure=str(error))
        for key, made in ((effect.payload, sent), (effect.after, after)):
            store[key], arrays[key] = value_of(store, effect.child, effect.state), made.arrays
        return done

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
        before = {} if effect.state is None else self._brought[effect.state]
        self._brought[effect.after] = {child: value_of(store, name, key) for child, key in effect.payloads} | before
        return StepComputed(effect.first, effect.number, tuple(made))

    def combine(self, name: str, effect: Combine, store: Store, arrays: ArrayStore) -> Contributions:
        """What is folded in place of the reports of a round; gives those in it whose reports have not come.

        Raises:
            InvariantError: it is not the sum of those that are said to be in it.
        """
        inside: list[tuple[str, int]] = []
        silent: list[tuple[str, int]] = []
        total = 0.0
        try:
            done = combined(self._exchange, *self._reported(name, effect, arrays))
        except ExchangeError:
            pass  # Nothing is in it.
        else:
            total = _total(done.result)
            for member in effect.members:
                if member.child not in done.left_out:
                    inside += value_of(store, name, member.update)
            for child in done.silent:
                silent += self._brought[cast("Key", effect.state)][child]
        if round(total) != sum(number for _, number in inside + silent):
            raise InvariantError("twice", f"an exchange of {name} came to {total}, but {inside + silent} are in it")
        store[effect.update] = tuple(inside + silent)
        return tuple(silent)

    def failed(self, name: str, effect: Combine, arrays: ArrayStore) -> dict[str, str]:
        """Children whose reports would not be in the result, and why."""
        return why_none(self._exchange, *self._reported(name, effect, arrays))

    def _reported(self, name: str, effect: Combine, arrays: ArrayStore) -> tuple[Arrays, dict[str, Arrays]]:
        payloads = {member.child: _of(arrays, name, member.update) for member in effect.members}
        return _of(arrays, name, effect.state), payloads


def _total(result: Update | Partial) -> float:
    if isinstance(result, Partial):
        return float(cast("Any", result.sums["delta"]).sum())
    return float(result.vectors["delta"].sum() * cast("float", result.weights["delta"]))


def _of(arrays: ArrayStore, node: str, key: Key | None) -> Arrays:
    """The arrays behind a key, which must be there."""
    if key is None:
        return EMPTY
    if key not in arrays:
        raise InvariantError("missing", f"{node} needs {key}, which it does not have")
    return arrays[key]
