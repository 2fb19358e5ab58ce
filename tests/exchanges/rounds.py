"""Plays an exchange by hand, without nodes: whoever is to lie, may."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from fogline.aggregation import Arrays, Update
from fogline.compute.exchange import Combined, child_step, combined, parent_step, simulated_state
from fogline.exchanges import Exchange, ExchangeError

Says = Callable[[str, str, Arrays], Arrays]
"""From step, child and what is sent (or heard) to what is sent (or heard) in truth."""


def as_it_is(step: str, child: str, arrays: Arrays) -> Arrays:
    return arrays


@dataclass
class Played:
    """What came of a round."""

    done: Combined
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Children that could not go on, and why."""
    sent: dict[tuple[str, str], Arrays] = field(default_factory=dict[tuple[str, str], Arrays])
    """By step and child."""
    heard: dict[tuple[str, str], Arrays] = field(default_factory=dict[tuple[str, str], Arrays])
    """Likewise, what it was answered to the step before."""

    @property
    def update(self) -> Update:
        assert isinstance(self.done.result, Update)
        return self.done.result


def play(
    exchange: Exchange,
    updates: Mapping[str, Update],
    *,
    gone: Mapping[str, Collection[str]] | None = None,
    sends: Says = as_it_is,
    hears: Says = as_it_is,
    turn: int = 1,
) -> Played:
    """Take all steps.

    Args:
        exchange: which.
        updates: what each child has trained.
        gone: by step, who does not send in it any more.
        sends: lies of children.
        hears: lies of the parent.
        turn: which round it is: devices have their lasting keys from the job, and all else from the round.
    """
    last = len(exchange.steps) - 1
    states = {
        child: simulated_state(exchange, update.to_arrays(), child, 0, f"{turn}/{child}")
        for child, update in updates.items()
    }
    received: dict[str, Arrays] = {child: {} for child in updates}
    failed: dict[str, str] = {}
    sent: dict[tuple[str, str], Arrays] = {}
    heard: dict[tuple[str, str], Arrays] = {}
    state: Arrays = {}
    for number, step in enumerate(exchange.steps):
        payloads: dict[str, Arrays] = {}
        for child in received:
            if child in (gone or {}).get(step, ()):
                continue
            heard[step, child] = hears(step, child, received[child])
            try:
                payload, after = child_step(exchange, number, states[child], heard[step, child])
            except ExchangeError as error:
                failed[child] = str(error)
                continue
            payloads[child] = sent[step, child] = sends(step, child, payload.arrays)
            states[child] = after.arrays
        if number < last:
            replies, told = parent_step(exchange, number, state, payloads)
            received, state = {child: reply.arrays for child, reply in replies.items()}, told.arrays
        else:
            return Played(combined(exchange, state, payloads), failed, sent, heard)
    raise AssertionError
