"""Toy of the tests: children commit to what they trained, then reveal it; those that kept their word are added."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from fogline.aggregation import Arrays, MeanFold, Partial, UnusableUpdateError, Update
from fogline.exchanges import OWN, SEED, Exchange, ExchangeError
from fogline.exchanges.base import Received


def commitment(arrays: Received) -> np.ndarray:
    """(32,) uint8: of all arrays and their names."""
    told = sha256()
    for name in sorted(arrays):
        told.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(told.digest(), np.uint8)


class CommitReveal(Exchange):
    """Nobody can choose its update after it has seen those of others."""

    steps = ("commit", "reveal")
    liar: str = ""
    """A child that reveals something else than it committed to."""
    quitter: str = ""
    """A child that cannot go on in the second step."""
    fails: bool = False
    """Whether the parent's half does not accept any commitment."""

    def child(self, step: str, state: Received, received: Received) -> tuple[Arrays, Arrays]:
        own = bytes(state[OWN]).decode()
        revealed = {name: array for name, array in state.items() if name != OWN}  # With the seed: nobody can guess it.
        if step == "commit":
            return {"commitment": commitment(revealed)}, dict(state)
        if own == self.quitter:
            raise ExchangeError("It has lost its note.")
        if own == self.liar:
            revealed["vector/delta"] = revealed["vector/delta"] * 100
        return revealed, {}

    def parent(
        self, step: str, state: Received, payloads: Mapping[str, Received]
    ) -> tuple[Mapping[str, Arrays], Arrays]:
        if step == "commit":
            if self.fails:
                raise ExchangeError("The parent trusts nobody.")
            said = {child: payload["commitment"] for child, payload in payloads.items() if "commitment" in payload}
            return {child: {} for child in said}, said
        fold, kept = MeanFold(), dict[str, Arrays]()
        for child, payload in payloads.items():
            if child not in state or not np.array_equal(commitment(payload), state[child]):
                continue
            try:
                fold.add(Update.from_arrays({name: payload[name] for name in payload if name != SEED}))
                kept[child] = {}
            except UnusableUpdateError:
                continue
        return kept, fold.partial().to_arrays()

    def result(self, state: Received) -> Update | Partial:
        return Partial.from_arrays(state)
