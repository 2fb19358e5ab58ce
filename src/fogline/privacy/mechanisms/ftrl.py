"""DP-FTRL: noise that belongs to sums over several rounds, so that the model after many has little of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.parameters import bounded
from fogline.params import State
from fogline.privacy.accounting.events import Concentrated, Event
from fogline.privacy.mechanisms.base import Integers, Mechanism, Use
from fogline.privacy.mechanisms.registry import MECHANISMS
from fogline.privacy.noise.gaussian import rounded_gaussian
from fogline.privacy.noise.source import Source

LEAVES = "leaves"
NODE = "node/"


@MECHANISMS.add("ftrl")
class Ftrl(Mechanism):
    """Tree aggregation (Kairouz et al., "Practical and Private (Deep) Learning without Sampling or Shuffling", ICML
    2021).

    Rounds are the leaves of a binary tree. Each node has the sum of what is below it, with noise of its own. What is
    known of all rounds so far is the sum of a few nodes, so that its noise grows with the logarithm of the rounds, and
    not with their number. A node's own sum and those of its two children are estimates of the same; their best mean is
    taken (Honaker, 2015). An aggregator's model moves from one such sum to the next: that is a plain FedAvg, or one
    with momentum, whose updates have the differences of the noise.

    No chance in who takes part is counted on. What counts is in which rounds a unit is, and that is what the policy
    ``rotation`` sees to. What it costs is the whole tree's: for every node the square of the number of rounds below it
    that the unit is in.
    """

    remembers: ClassVar[bool] = True

    restart: int = bounded(0, ge=0)
    """Rounds after which a new tree begins; 0: never. The last sum's noise stays in the model, and is smallest where
    this is a power of two."""

    def noised(
        self, total: Integers, deviation: float, state: State, source: Source, round: int = 0
    ) -> tuple[Integers, State]:
        done = int(state[LEAVES][0]) if state else 0
        if round < done:
            raise ValueError(f"The tree of noise has round {round} already; it is at round {done}.")
        kept = {name.removeprefix(NODE): noise for name, noise in state.items() if name.startswith(NODE)}
        nodes: dict[int, npt.NDArray[Any]] = {int(level): noise for level, noise in kept.items()}
        for leaf in range(done, round + 1):  # Those that came to nothing have noise too: the tree stays the rounds'.
            if self.restart and leaf % self.restart == 0:
                nodes = {}
            _add_leaf(nodes, total, deviation, source)
        after: State = {LEAVES: np.array([round + 1])}
        after |= {f"{NODE}{level}": noise for level, noise in nodes.items()}
        return total, after

    def events(self, noise: float, use: Use) -> tuple[Event, ...]:
        squares = sum(tree_squares(leaves, use.times, use.separation) for leaves in _trees(use.releases, self.restart))
        return (Concentrated(squares / (2.0 * noise**2) if noise else math.inf),)


def _add_leaf(nodes: dict[int, npt.NDArray[Any]], total: Integers, deviation: float, source: Source) -> None:
    """Go on by one round.

    Args:
        nodes: noise of the nodes that the sum so far is made of, by level; changed.
        total: of the round, to which is added by how much their noise changes.
        deviation: of a node's own noise.
        source: of it.
    """
    noise, level = rounded_gaussian(deviation, total.size, source), 0
    total += noise
    while level in nodes:
        below = nodes.pop(level) + noise
        own = rounded_gaussian(deviation, total.size, source)
        noise = _joined(own, below, level + 1)
        total += noise - below
        level += 1
    nodes[level] = noise


def _joined(own: Integers, below: Integers, level: int) -> Integers:
    """The noise of the best mean of a node's own sum and that of its children.

    Where a node's own noise has the variance 1, the best has ``b / (2 b - 1)`` with ``b = 2 ** level``, and its
    children together twice that of the level below; so its own counts ``b / (2 b - 1)``. Whole numbers are rounded
    down, so that this is the same as rounding the mean of the sums.
    """
    share = 2**level
    whole, rest = np.divmod(own - below, 2 * share - 1)
    return below + share * whole + share * rest // (2 * share - 1)


def _trees(releases: int, restart: int) -> Iterator[int]:
    """Leaves of each tree."""
    whole, rest = divmod(releases, restart) if restart else (0, releases)
    yield from [restart] * whole
    if rest:
        yield rest


def tree_squares(leaves: int, times: int, separation: int) -> int:
    """What the squares of a unit's rounds below each node come to at most, over all complete nodes of a tree.

    On each level, as many rounds as can be are below the same node.

    Args:
        leaves: rounds so far.
        times: rounds that the unit is in, at most.
        separation: rounds from one of them to the next, at least.
    """
    squares, width = 0, 1
    while width <= leaves:
        inside = min(times, -(-(leaves // width * width) // separation))
        together = min(inside, -(-width // separation))
        if together:
            squares += inside // together * together**2 + (inside % together) ** 2
        width *= 2
    return squares
