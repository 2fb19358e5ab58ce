"""Who gives shares to whom, and who has masks with whom. Among few members everybody does with everybody. Among many,
each draws its peers for itself, once it is known who takes part: so nobody has a say in whose peers its own devices are
(Bell et al., 2020, the protocol against an aggregator that lies)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_256

import numpy as np
import numpy.typing as npt

Peers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
COMPLETE = 100
"""Members up to which everybody is joined to everybody."""
GONE = 0.6
"""Share of the members that a threshold lets go missing for which a sparse graph is made."""
FAILS = 1e-3
"""With so many missing, by chance, a round may fail at most that often."""


def needed(peers: int, threshold: float) -> int:
    """Shares that are needed to find a secret that so many peers hold: more than that share of them."""
    return math.floor(threshold * peers + 1e-9) + 1


@lru_cache(maxsize=64)
def degree(members: int, threshold: float) -> int:
    """Peers that each member draws: all others, or of many the fewest with which a round rarely fails.

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


def drawn(key: bytes, members: int, count: int, number: int) -> Peers:
    """The peers that a member draws for itself, (count,): all others, or the first of these in an order by chance.

    Args:
        key: 32 bytes that decide the order.
        members: how many there are.
        count: peers to draw.
        number: the member's own.
    """
    others = np.arange(members - 1)
    others += others >= number
    if count >= members - 1:
        return others
    chance = np.frombuffer(shake_256(b"peers" + key).digest(8 * len(others)), "<u8")
    return others[np.argsort(chance, kind="stable")[:count]]


@dataclass(frozen=True)
class PeerGraph:
    """Who is joined to whom: each pair stands in it both ways, sorted by its first member and then its second."""

    starts: Peers
    """Where the pairs of each member begin, and their number, (members + 1,)."""
    owners: Peers
    """The first member of each pair, (pairs,),"""
    peers: Peers
    """and the second."""
    twins: Peers
    """Where the same pair stands the other way round."""
    deals: Flags
    """Whether the first has drawn the second, and gives it shares."""
    masks: Flags
    """Whether the two have a mask."""

    @classmethod
    def of(cls, draws: Peers, masked: int) -> PeerGraph:
        """That of all draws.

        Args:
            draws: of each member, (members, count); -1 where a member has drawn nobody.
            masked: with how many of those that it has drawn first a member has masks, at least.
        """
        members, count = draws.shape
        owners, peers = np.repeat(np.arange(members), count), draws.ravel()
        first = np.tile(np.arange(count) < masked, members)
        owners, peers, first = (each[peers >= 0] for each in (owners, peers, first))
        there, back = owners * members + peers, peers * members + owners
        codes = np.unique(np.concatenate([there, back]))
        owners, peers = np.divmod(codes, members)
        return cls(
            np.searchsorted(owners, np.arange(members + 1)),
            owners,
            peers,
            np.searchsorted(codes, peers * members + owners),
            np.isin(codes, there),
            np.isin(codes, np.concatenate([there[first], back[first]])),
        )

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self.starts) - 1

    def row(self, number: int) -> slice:
        """Where a member's pairs stand."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def dealt_by(self, number: int) -> Peers:
        """Where those of its pairs stand in which a member gives shares."""
        row = self.row(number)
        return row.start + np.flatnonzero(self.deals[row])

    def dealt_to(self, number: int) -> Peers:
        """Where those of its pairs stand in which a member gets shares."""
        row = self.row(number)
        return row.start + np.flatnonzero(self.deals[self.twins[row]])


def with_enough_peers(graph: PeerGraph, here: Flags, needed: int) -> Flags:
    """Those who are here with so many that they have drawn and that are here, (members,). Who has fewer goes, and may
    take others."""
    left = here.copy()
    while True:
        held = np.bincount(graph.owners[graph.deals & left[graph.peers]], minlength=graph.members)
        stay = left & (held >= needed)
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
