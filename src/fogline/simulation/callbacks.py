"""A function of the developer's that is told of every round, and may end the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from fogline.monitoring.record import Row
from fogline.params import Params, State, Vector
from fogline.user_code.bugs import CodeError, line_of_definition, sure


class Signal(Enum):
    """What a callback may return."""

    STOP = "stop"

    def __repr__(self) -> str:
        return f"fogline.{self.name}"


STOP = Signal.STOP
"""Returned by ``on_round``: the run ends with this round, as one that reached its goal."""

OnRound = Callable[[Row, Params, Mapping[str, Vector]], Signal | None]
"""``on_round(row, model, state)``: the round's row of the history, the model as it is judged, and the state of the root
aggregator by name. The arrays are read-only, and stay as they are."""


def ends_after(on_round: OnRound, row: Row, model: Params, state: State) -> bool:
    """Whether the callback, told of a round, ends the run.

    Raises:
        CodeError: it raised, or returned something else than nothing or ``STOP``.
    """
    shown = Params(model.spec, _read_only(model.vector), _read_only(model.counters))
    states = MappingProxyType({name: _read_only(vector) for name, vector in state.items()})
    try:
        said = sure("on_round", lambda: on_round(dict(row), shown, states))
    except CodeError as error:
        error.at(f"Round {row['round']:.0f}")
        raise
    if said is None or said is STOP:
        return said is STOP
    wrong = f"on_round returned {said!r:.80}; it must return nothing, or fogline.STOP to end the run"
    raise CodeError(wrong, line_of_definition(on_round), f"Round {row['round']:.0f}")


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
