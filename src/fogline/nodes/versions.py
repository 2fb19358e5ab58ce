"""Versions of a model that go down the tree, whole or as differences: what is kept of them, and what a child lacks.

A version is as its parent's children have it, whichever way they came to it. The difference from the version before is
one value, made once; who lacks several takes one after the other, and who lacks too much takes the model whole. An
aggregator that hands models on hands differences on as they came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fogline.nodes.messages import Key, model_key

DIFFERENCE = "/difference"
"""After a model's key: the difference that leads to it from the version before."""
LONGEST = 32
"""Differences that are kept at most: each is named in every request."""


def version_of(key: Key) -> int:
    """The number of the version that is kept under a model's key."""
    return int(key.rpartition("@")[2])


def before(key: Key) -> Key:
    """The key of the version before."""
    return model_key(key.rpartition("@")[0], version_of(key) - 1)


def chain(key: Key, kept: Collection[Key]) -> list[Key]:
    """The versions up to that one which differences lead to, without a gap, the oldest first.

    Args:
        key: of a model.
        kept: keys of values, differences among them.
    """
    found: list[Key] = []
    while len(found) < LONGEST and key + DIFFERENCE in kept:
        found.append(key)
        key = before(key)
    return found[::-1]


def useful(links: Sequence[Key], sizes: Mapping[Key, int], whole: int) -> list[Key]:
    """Those of a chain, which ends with it, that together take fewer bytes than the whole model.

    Args:
        links: versions that differences lead to, the oldest first.
        sizes: bytes of each difference, by the version.
        whole: bytes of the model.
    """
    taken, total = len(links), 0
    while taken and total + sizes[links[taken - 1]] < whole:
        taken -= 1
        total += sizes[links[taken]]
    return list(links[taken:])


def lacked(links: Sequence[Key], held: Collection[Key]) -> list[Key] | None:
    """The differences that lead to a chain's end from the newest version that a child holds; None: it holds none.

    Args:
        links: versions that differences lead to, the oldest first.
        held: keys of the models that it holds.
    """
    for place in range(len(links) - 1, -1, -1):
        if before(links[place]) in held:
            return list(links[place:])
    return None
