"""Merkle trees against their definition (RFC 9162, section 2.1.1), and proofs against liars."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.governance.audit_log.merkle import (
    EMPTY,
    MerkleFrontier,
    MerkleTree,
    extends,
    includes,
    leaf_hash,
    node_hash,
)

LEAVES = [leaf_hash(bytes([i])) for i in range(70)]
SIZES = st.integers(0, len(LEAVES))


def by_definition(leaves: list[bytes]) -> bytes:
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    left = 1
    while 2 * left < len(leaves):
        left *= 2
    return node_hash(by_definition(leaves[:left]), by_definition(leaves[left:]))


@pytest.mark.parametrize("size", range(0, 70, 3))
def test_roots_are_those_of_the_definition(size: int) -> None:
    frontier = MerkleFrontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    assert frontier.root == MerkleTree(LEAVES[:size]).root == by_definition(LEAVES[:size])
    assert MerkleFrontier(size, frontier.peaks).root == frontier.root


@settings(max_examples=60)
@given(SIZES.filter(bool), st.data())
def test_every_leaf_is_proved_and_no_other(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree = MerkleTree(LEAVES[:size])
    path = tree.inclusion(index)
    assert includes(tree.root, size, index, LEAVES[index], path)
    elsewhere = data.draw(st.integers(0, size).filter(lambda place: place != index))
    assert not includes(tree.root, size, elsewhere, LEAVES[index], path)
    assert not includes(tree.root, size, index, leaf_hash(b"another"), path)
    assert not includes(tree.root, size, index, LEAVES[index], (*path, EMPTY))
    if path:
        assert not includes(tree.root, size, index, LEAVES[index], path[:-1])


@settings(max_examples=60)
@given(SIZES, SIZES, st.integers(0, 255), st.integers(0, 7))
def test_a_tree_extends_its_beginnings_and_nothing_else(one: int, other: int, place: int, bit: int) -> None:
    earlier, size = min(one, other), max(one, other)
    before, tree = MerkleTree(LEAVES[:earlier]), MerkleTree(LEAVES[:size])
    path = tree.consistency(earlier)
    assert extends(before.root, earlier, tree.root, size, path)
    if 0 < earlier < size:
        forked = MerkleTree([*LEAVES[: earlier - 1], leaf_hash(b"another")])
        assert not extends(forked.root, earlier, tree.root, size, path)
        flipped = list(path)
        step = bytearray(flipped[place % len(path)])
        step[place % 32] ^= 1 << bit
        flipped[place % len(path)] = bytes(step)
        assert not extends(before.root, earlier, tree.root, size, flipped)
        assert not extends(before.root, earlier, tree.root, size, path[:-1])
        assert not extends(before.root, earlier, tree.root, size, (*path, EMPTY))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a tree of 3 leaves does not have these 1 peaks"):
        MerkleFrontier(3, [EMPTY])
    tree = MerkleTree(LEAVES[:3])
    with pytest.raises(IndexError, match="no leaf 3"):
        tree.inclusion(3)
    with pytest.raises(IndexError, match="never had 4"):
        tree.consistency(4)
