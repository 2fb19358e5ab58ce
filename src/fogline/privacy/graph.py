"""Who masks with whom. Among few members everybody does with everybody; among many, each with some that the round's
random context chooses: a ring in random order, in which each is joined to those that are near (Bell et al., 2020)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from hashlib import shake_256

import numpy as np
import numpy.typing as npt

Peers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
COMPLETE = 100
"""Members up to which everybody is joined to everybody."""
GONE = 0.6
"""Share of the members that a threshold lets go missing for which a sparse graph is laid out."""
FAILS = 1e-3
"""With so many missing, by chance, a round may fail at most that often."""


def needed(peers: int, threshold: float) -> int:
    """Shares that are needed to find a secret that so many peers hold: more than that share of them."""
    return math.floor(threshold * peers + 1e-9) + 1


@lru_cache(maxsize=64)
def degree(members: int, threshold: float) -> int:
    """Peers of each member: all others, or in a large graph the fewest with which a round rarely fails.

    That is, where a share ``0.6 * (1 - threshold)`` of the members goes missing at random, all who are left have
    enough peers with a probability above 0.999.
    """
    gone = round(GONE * (1.0 - threshold) * members)
    if members > COMPLETE:
        for peers in range(20, members - 1, 2):
            if members * _tail(members - 1, members - 1 - gone, peers, needed(peers, threshold)) < FAILS:
                return peers
    return members - 1


def _tail(population: int, good: int, drawn: int, wanted: int) -> float:
    """Probability that of so many drawn from a population fewer good ones come than wanted."""
    bad, whole = population - good, _log_comb(population, drawn)
    return sum(
        math.exp(_log_comb(good, i) + _log_comb(bad, drawn - i) - whole)
        for i in range(max(0, drawn - bad), min(wanted, good + 1))
    )


def _log_comb(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def peers_of(context: bytes, members: int, degree: int) -> Peers:
    """The peers of each member, (members, degree), in rising order.

    Args:
        context: 32 bytes that decide a sparse graph.
        members: how many there are.
        degree: peers of each; even, unless they are all others.
    """
    if degree >= members - 1:
        others = np.arange(members - 1)[None, :]
        return others + (others >= np.arange(members)[:, None])
    order = _order(context, members)
    peers = np.empty((members, degree), np.int64)
    peers[order] = np.sort(_near(order, np.arange(members)[:, None], degree), axis=1)
    return peers


def peers_of_one(context: bytes, members: int, degree: int, number: int) -> Peers:
    """One member's row of :func:`peers_of`, (degree,), for who needs no other."""
    if degree >= members - 1:
        others = np.arange(members - 1)
        return others + (others >= number)
    order = _order(context, members)
    return np.sort(_near(order, np.flatnonzero(order == number), degree))


def places_at_peers(peers: Peers) -> Peers:
    """Where each member stands in the row of each of its peers, (members, degree)."""
    members, degree = peers.shape
    rows = np.arange(members)[:, None]
    edges = (rows * members + peers).ravel()  # Sorted, because the rows are.
    return np.searchsorted(edges, (peers * members + rows).ravel()).reshape(peers.shape) - peers * degree


def with_enough_peers(peers: Peers, here: Flags, needed: int) -> Flags:
    """Those who are here with so many peers that are here, (members,). Who has fewer goes, and may take others."""
    left = here.copy()
    while True:
        stay = left & (left[peers].sum(axis=1) >= needed)
        if np.array_equal(stay, left):
            return left
        left = stay


def culprits(complaints: Iterable[tuple[int, int]]) -> set[int]:
    """Members without whom nobody complains about anybody.

    Nobody can tell who of two lies. But who sends rubbish to all is complained about by all, and who complains about
    all does so alone: the one in most complaints goes first, and of two the one that was complained about.

    Args:
        complaints: by whom, about whom.
    """
    left, gone = set(complaints), set[int]()
    while left:
        counts = Counter(member for pair in left for member in pair)
        accused = Counter(about for _, about in left)
        worst = max(counts, key=lambda member: (counts[member], accused[member], -member))
        gone.add(worst)
        left = {pair for pair in left if worst not in pair}
    return gone


def _order(context: bytes, members: int) -> Peers:
    """The members along the ring."""
    return np.argsort(np.frombuffer(shake_256(b"order" + context).digest(8 * members), "<u8"), kind="stable")


def _near(order: Peers, places: Peers, degree: int) -> Peers:
    """Those near the places of the ring."""
    steps = np.concatenate([np.arange(-(degree // 2), 0), np.arange(1, degree // 2 + 1)])
    return order[(places + steps) % len(order)]
