"""Rounds of an exchange that are played by hand, without nodes, and what each step takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from time import thread_time

import numpy as np

from benchmarks.common import median
from fogline.aggregation import Arrays, Update
from fogline.compute.exchange import child_step, combined, parent_step, simulated_state
from fogline.exchanges import Exchange
from fogline.privacy import identity
from fogline.privacy.agreement import lasting

EXAMPLES = 100.0
TIMED = 20
"""Clients whose time is looked at, of those who take all steps."""
SMALL = 2_000
"""Numbers of an update in a round in which all steps are played by all."""


def update_of(i: int, size: int) -> Update:
    vector = 0.01 * np.random.default_rng(i).standard_normal(size, np.float32)
    return Update({"delta": vector}, {"delta": EXAMPLES})


def nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


@dataclass
class Played:
    """A round."""

    exchange: Exchange
    clients: int
    gone: int
    size: int
    client: dict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    """Seconds of each timed client, by step."""
    meeting: list[float] = field(default_factory=list[float])
    """Seconds of the step ``shares`` where a client meets all its peers for the first time."""
    up: dict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    """Bytes that each timed client sends, by step."""
    down: dict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    """Bytes that it gets before a step."""
    server: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds by step."""
    before: dict[str, dict[str, tuple[Arrays, Arrays]]] = field(
        default_factory=lambda: defaultdict[str, dict[str, tuple[Arrays, Arrays]]](dict)
    )
    """State and answer with which some timed clients went into a step, so that it can be taken again with a larger
    update."""
    error: float = 0.0
    """The largest, of the mean."""

    def seconds(self, *without: str) -> float:
        """A client's, at the median of each step."""
        return sum(median(times) for step, times in self.client.items() if step not in without)

    def bytes_up(self, *without: str) -> float:
        return sum(median(sizes) for step, sizes in self.up.items() if step not in without)

    def bytes_down(self, *without: str) -> float:
        return sum(median(sizes) for step, sizes in self.down.items() if step not in without)


def play(exchange: Exchange, clients: int, gone: Collection[int], size: int, leave: str) -> Played:
    """All steps of all.

    Args:
        exchange: which.
        clients: how many.
        gone: who goes missing.
        size: numbers of an update.
        leave: before which step they go.
    """
    played = Played(exchange, clients, len(gone), size)
    names = [f"client-{i}" for i in range(clients)]
    left = {names[i] for i in gone}
    states = {
        name: simulated_state(exchange, update_of(i, size).to_arrays(), name, 0, name) for i, name in enumerate(names)
    }
    received: dict[str, Arrays] = {name: {} for name in names}
    timed, state, last = [name for name in names if name not in left][:TIMED], dict[str, np.ndarray](), None
    for number, step in enumerate(exchange.steps):
        payloads: dict[str, Arrays] = {}
        for child in received:
            if step == leave and child in left:
                continue
            if child in timed:
                played.down[step].append(nbytes(received[child]))
                if len(played.before[step]) < 3:
                    played.before[step][child] = states[child], received[child]
                if step == "shares":
                    played.meeting.append(_meeting(exchange, number, states[child], received[child]))
            begun = thread_time()
            payload, after = child_step(exchange, number, states[child], received[child])
            taken = thread_time() - begun
            payloads[child], states[child] = payload.arrays, after.arrays
            if child in timed:
                played.client[step].append(taken)
                played.up[step].append(nbytes(payload.arrays))
        begun = thread_time()
        if number == len(exchange.steps) - 1:
            last = combined(exchange, state, payloads).result
        else:
            replies, told = parent_step(exchange, number, state, payloads)
            received, state = {child: reply.arrays for child, reply in replies.items()}, told.arrays
        played.server[step] = thread_time() - begun
    assert isinstance(last, Update)
    wanted = np.mean([update_of(i, size).vectors["delta"] for i in range(clients) if i not in gone], axis=0)
    played.error = float(np.abs(last.vectors["delta"] - wanted).max())
    if played.error > 1e-5:
        raise AssertionError(f"The mean is off by {played.error}.")
    return played


def _meeting(exchange: Exchange, number: int, state: Arrays, received: Arrays) -> float:
    """Seconds of a step where whose the peers' keys are, and what a device has in common with them, is not known."""
    identity._stood_in.cache_clear()  # type: ignore[reportPrivateUsage]
    lasting.cache_clear()
    begun = thread_time()
    child_step(exchange, number, state, received)
    return thread_time() - begun


def again(played: Played, step: str, size: int) -> tuple[float, Arrays]:
    """Seconds of a step with an update of that size in place of the one that was played, and what is sent."""
    number, times, sent = played.exchange.steps.index(step), list[float](), dict[str, np.ndarray]()
    for i, (state, received) in enumerate(played.before[step].values()):
        larger = {name: array for name, array in state.items() if not name.startswith("vector/")}
        larger |= {"vector/delta": update_of(i, size).vectors["delta"]}
        begun = thread_time()
        payload, _ = child_step(played.exchange, number, larger, received)
        times.append(thread_time() - begun)
        sent = payload.arrays
    return median(times), sent
