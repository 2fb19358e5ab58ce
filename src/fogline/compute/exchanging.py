"""The steps of an exchange, carried out from files to files."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError

from fogline.aggregation import Arrays, Partial, Update
from fogline.compute.effects import CarriedOut, CarryOut, Sift
from fogline.compute.exchange import EMPTY, Folds, brought, child_step, combined, first_state, parent_step, why_none
from fogline.exchanges import Exchange, ExchangeError
from fogline.nodes.effects import ChildStep, Combine, FoldInput, ParentStep
from fogline.nodes.messages import Key
from fogline.params import map_arrays, write_arrays

UNREADABLE = "what it sent in the last step of the exchange cannot be read"


class ExchangeOnFiles:
    """Carries out an exchange's effects.

    Args:
        exchange: what the aggregators of a tier and their children do before these report.
        folds: the rule of that tier.
    """

    def __init__(self, exchange: Exchange, folds: Folds) -> None:
        self._exchange = exchange
        self._folds = folds

    def carry_out(self, asked: CarryOut) -> CarriedOut:
        """Read what an effect names, and write what it makes.

        Raises:
            CodeError: the exchange's code is wrong.
            ValueError: it is no effect of an exchange.
        """
        try:
            match asked.effect:
                case ChildStep():
                    return self._child(asked, asked.effect)
                case ParentStep():
                    return self._parent(asked, asked.effect)
                case Combine():
                    return self._combine(asked, asked.effect)
                case _:
                    raise ValueError(f"An exchange carries out no {type(asked.effect).__name__}.")
        except ExchangeError as error:
            return CarriedOut(failure=str(error))

    def left_out(self, asked: Sift, combine: Combine) -> CarriedOut:
        """Which reports would not be in what the exchange comes to, by their places, and why."""
        payloads = _payloads(_updates(combine.members), asked.reads)
        why = why_none(self._exchange, _state(combine.state, asked.reads), payloads, self._folds)
        return CarriedOut(refused=_refused(asked.members, payloads, why))

    def _brought(self, value: Arrays) -> Arrays:
        """What a child has made, as the exchange takes it.

        Raises:
            ExchangeError: nothing comes of it.
        """
        return brought(self._exchange, value, self._folds)

    def _result(self, result: Update | Partial) -> Arrays:
        """What an exchange came to, as it is written."""
        return result.to_arrays()

    def _child(self, asked: CarryOut, effect: ChildStep) -> CarriedOut:
        state = _read(asked.reads[effect.state])
        if effect.number == 0:
            update = self._brought(state)
            state = first_state(self._exchange, update, effect.child, secrets.token_bytes(32), asked.identity)
        received = EMPTY if effect.received is None else _read(asked.reads[effect.received])
        sent, after = child_step(self._exchange, effect.number, state, received)
        return _written(asked, {effect.payload: sent.arrays, effect.after: after.arrays})

    def _parent(self, asked: CarryOut, effect: ParentStep) -> CarriedOut:
        payloads, keys = _payloads(effect.payloads, asked.reads), dict(effect.replies)
        replies, after = parent_step(
            self._exchange, effect.number, _state(effect.state, asked.reads), payloads, self._folds
        )
        made = {keys[child]: reply.arrays for child, reply in replies.items()}
        return _written(asked, made | {effect.after: after.arrays})

    def _combine(self, asked: CarryOut, effect: Combine) -> CarriedOut:
        payloads = _payloads(_updates(effect.members), asked.reads)
        done = combined(self._exchange, _state(effect.state, asked.reads), payloads, self._folds)
        made = _written(asked, {effect.update: self._result(done.result)}).made
        return CarriedOut(made, _refused(effect.members, payloads, done.left_out))


def _updates(members: Iterable[FoldInput]) -> tuple[tuple[str, Key], ...]:
    return tuple((member.child, member.update) for member in members)


def _refused(
    members: Iterable[FoldInput], payloads: Mapping[str, Arrays], why: Mapping[str, str]
) -> tuple[tuple[int, str], ...]:
    all_whys = {child: why.get(child, "") for child in payloads}
    whys = ((place, all_whys.get(member.child, UNREADABLE)) for place, member in enumerate(members))
    return tuple((place, text) for place, text in whys if text)


def _state(key: Key | None, reads: Mapping[Key, str]) -> Arrays:
    return EMPTY if key is None else _read(reads[key])


def _read(path: str) -> Arrays:
    return map_arrays(Path(path))


def _payloads(keys: Iterable[tuple[str, Key]], reads: Mapping[Key, str]) -> dict[str, Arrays]:
    """What children sent, as far as it can be read: bytes from outside may be anything."""
    payloads: dict[str, Arrays] = {}
    for child, key in keys:
        try:
            payloads[child] = _read(reads[key])
        except (SafetensorError, ValueError, OSError):
            continue
    return payloads


def _written(asked: CarryOut, made: Mapping[Key, Arrays]) -> CarriedOut:
    for key, arrays in made.items():
        write_arrays(Path(asked.writes[key]), arrays)
    return CarriedOut(tuple(made))
