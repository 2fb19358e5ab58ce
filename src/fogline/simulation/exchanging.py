"""The steps of an exchange on the virtual clock: computed when they are taken, since their sizes decide how long they
travel.

A resumed run repeats its past without numbers; what every step came to is in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fogline.aggregation import Arrays
from fogline.compute.exchange import (
    EMPTY,
    Folds,
    Payload,
    brought,
    child_step,
    combined,
    parent_step,
    simulated_state,
    why_none,
)
from fogline.exchanges import Exchange, ExchangeError
from fogline.nodes.effects import ChildStep, Combine, ParentStep
from fogline.nodes.events import StepComputed
from fogline.nodes.messages import Key
from fogline.simulation.values import LazyValue

Values = dict[Key, LazyValue]
Outcome = dict[str, Any]
"""What a step came to, as a checkpoint keeps it: ``failure``, or the ``sizes`` (bytes) of what is sent, by key."""


class ExchangeValues:
    """Carries out an exchange's effects.

    Args:
        exchanges: what aggregators and their children do, and the rule that takes what it comes to, by the tier of the
            aggregators.
        seed: of the job.
    """

    def __init__(self, exchanges: Mapping[str, tuple[Exchange, Folds]], seed: int) -> None:
        self.outcomes: dict[Key, Outcome] = {}
        """Of every step of the run, by the key of the state after it."""
        self.sizes: dict[Key, int] = {}
        """Bytes of what is sent in steps now."""
        self._exchanges = exchanges
        self._seed = seed

    def child(self, tier: str, effect: ChildStep, updates: Values, replaying: bool) -> StepComputed:
        """A child's half of a step. ``tier``: of its parent."""
        exchange, folds = self._exchanges[tier]

        def work() -> dict[Key, Payload]:
            if updates[effect.state].result is None:
                raise ExchangeError("nothing of what this node has could be folded")
            state = _arrays(updates[effect.state])
            if effect.number == 0:
                update = brought(exchange, state, folds)
                state = simulated_state(exchange, update, effect.child, self._seed, effect.state)
            received = EMPTY if effect.received is None else _arrays(updates[effect.received])
            sent, after = child_step(exchange, effect.number, state, received)
            updates[effect.after] = LazyValue(after)
            return {effect.payload: sent}

        outcome = self._take(effect.after, (effect.payload,), work, updates, replaying)
        return StepComputed(effect.task, effect.number, failure=outcome.get("failure"), upward=True)

    def parent(self, tier: str, effect: ParentStep, updates: Values, replaying: bool) -> StepComputed:
        """An aggregator's half of a step. ``tier``: of the aggregator."""
        keys, (exchange, folds) = dict(effect.replies), self._exchanges[tier]

        def work() -> dict[Key, Payload]:
            payloads = {child: _arrays(updates[key]) for child, key in effect.payloads}
            state = EMPTY if effect.state is None else _arrays(updates[effect.state])
            replies, after = parent_step(exchange, effect.number, state, payloads, folds)
            updates[effect.after] = LazyValue(after)
            return {keys[child]: reply for child, reply in replies.items()}

        outcome = self._take(effect.after, tuple(keys.values()), work, updates, replaying)
        made = tuple(key for key in keys.values() if key in outcome.get("sizes", {}))
        return StepComputed(effect.first, effect.number, made, outcome.get("failure"))

    def combine(
        self, tier: str, effect: Combine, updates: Values, replaying: bool, refused: Callable[[str, str], None]
    ) -> None:
        """What is folded in place of the reports of a round of an aggregator in that tier. ``refused``: told of every
        child that is not in it."""
        exchange, folds = self._exchanges[tier]
        result: Any = None
        out: Mapping[str, str] = {}
        if not replaying:
            try:
                done = combined(exchange, *_reported(effect, updates), folds)
                result, out = done.result, done.left_out
            except ExchangeError as error:
                out = dict.fromkeys((member.child for member in effect.members), str(error))
        for child, why in out.items():
            refused(child, why)
        updates[effect.update] = LazyValue(result)

    def failed(self, tier: str, effect: Combine, updates: Values) -> dict[str, str]:
        """Children whose reports would not be in the result, and why."""
        exchange, folds = self._exchanges[tier]
        return why_none(exchange, *_reported(effect, updates), folds)

    def _take(
        self,
        place: Key,
        sent: Sequence[Key],
        work: Callable[[], dict[Key, Payload]],
        updates: Values,
        replaying: bool,
    ) -> Outcome:
        """Take a step, or repeat what came of it."""
        if not replaying:
            try:
                made = work()
            except ExchangeError as error:
                self.outcomes[place] = {"failure": str(error)}
            else:
                updates |= {key: LazyValue(payload) for key, payload in made.items()}
                self.outcomes[place] = {"sizes": {key: payload.nbytes for key, payload in made.items()}}
        outcome = self.outcomes[place]
        sizes = outcome.get("sizes", {})
        if replaying and sizes:
            updates |= {key: LazyValue() for key in (place, *(key for key in sent if key in sizes))}
        self.sizes |= sizes
        return outcome


def _reported(effect: Combine, updates: Values) -> tuple[Arrays, dict[str, Arrays]]:
    state = EMPTY if effect.state is None else _arrays(updates[effect.state])
    return state, {member.child: _arrays(updates[member.update]) for member in effect.members}


def _arrays(value: LazyValue) -> Arrays:
    return value.result.to_arrays()
