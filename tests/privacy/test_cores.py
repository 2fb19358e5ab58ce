"""Masks, shares, rings and graphs: what secure aggregation is made of."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from fogline.privacy.agreement import Agreement, derive, public_key, seal, unseal
from fogline.privacy.graph import PeerGraph, Peers, culprits, degree, drawn, needed, with_enough_peers
from fogline.privacy.masks import BLOCK, Stream, add_mask
from fogline.privacy.ring import Ring, RingError
from fogline.privacy.sharing import PRIME, SHARE, combine, split

KEYS = st.binary(min_size=32, max_size=32)


# Keys.


@given(KEYS, KEYS)
def test_two_find_one_secret_and_a_third_another(a: bytes, b: bytes) -> None:
    shared = Agreement(a).with_public(public_key(b))
    assert shared == Agreement(b).with_public(public_key(a)) is not None
    other = derive(a, "somebody else")
    assert Agreement(other).with_public(public_key(b)) != shared


def test_a_key_of_small_order_is_none() -> None:
    assert Agreement(bytes(range(32))).with_public(bytes(32)) is None


def test_where_one_part_of_a_context_ends_counts() -> None:
    secret = bytes(32)
    assert len({derive(secret, "a", b"bc"), derive(secret, "ab", b"c"), derive(secret, "a", b"b", b"c")}) == 3


@given(st.binary(min_size=32, max_size=64), st.binary(max_size=40), st.integers(1, 100))
def test_a_derived_key_is_that_of_the_standard(secret: bytes, context: bytes, length: int) -> None:
    info = b"".join(len(part).to_bytes(4, "big") + part for part in (b"fogline", b"mask", context))
    wanted = HKDF(SHA256(), length, salt=None, info=info).derive(secret)
    assert derive(secret, "mask", context, length=length) == wanted


@given(KEYS, st.binary(max_size=80), st.integers(0, 95), st.integers(0, 7))
def test_what_is_sealed_cannot_be_changed(key: bytes, text: bytes, byte: int, bit: int) -> None:
    sealed = bytearray(seal(key, text, b"to you", 0))
    assert unseal(key, bytes(sealed), b"to you", 0) == text
    assert unseal(key, bytes(sealed), b"to her", 0) is None
    assert unseal(key, bytes(sealed), b"to you", 1) is None
    sealed[byte % len(sealed)] ^= 1 << bit
    assert unseal(key, bytes(sealed), b"to you", 0) is None


# Masks.


@given(KEYS, st.sampled_from(["<i2", "<i4", "<i8"]), st.integers(0, BLOCK // 2 + 9))
def test_a_mask_cancels_out(key: bytes, kind: str, size: int) -> None:
    numbers, tail = np.arange(size).astype(kind), np.arange(3, dtype=np.int64)
    add_mask((numbers, tail), key)
    add_mask((numbers, tail), key, negative=True)
    assert np.array_equal(numbers, np.arange(size).astype(kind))
    assert np.array_equal(tail, np.arange(3))


def test_a_mask_is_the_keystream_of_chacha20_and_goes_on_over_vectors() -> None:
    # The first block of RFC 8439's test vector 1: key and nonce of zeros.
    stream = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    numbers, tail = np.zeros(4, "<i4"), np.zeros(2, "<i8")
    add_mask((numbers, tail), bytes(32))
    assert numbers.tobytes() == stream[:16]
    whole = np.zeros(BLOCK // 4 + 4, "<i4")
    add_mask((whole,), bytes(32))
    assert whole[:4].tobytes() == stream[:16]
    assert np.abs(whole[-4:]).min() > 0


def test_a_masked_number_may_be_any() -> None:
    numbers = np.zeros(1 << 16, "<i4")
    add_mask((numbers,), derive(bytes(32), "some key"))
    ones = np.unpackbits(numbers.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 4 * 0.5 / np.sqrt(numbers.size * 32)
    assert np.abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / np.sqrt(numbers.size)


def test_uniform_numbers_are_uniform() -> None:
    drawn = np.concatenate([Stream(derive(bytes(32), "u", bytes([i]))).uniform(BLOCK // 4) for i in range(8)])
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert abs(drawn.mean() - 0.5) < 4 / np.sqrt(12 * drawn.size)


# Shares.


@given(KEYS, KEYS, st.integers(1, 6), st.integers(0, 5))
def test_any_so_many_shares_give_the_secret(secret: bytes, key: bytes, threshold: int, more: int) -> None:
    points = [3 * i + 1 for i in range(threshold + more)]
    shares = split(secret, threshold, points, key)
    assert shares.shape == (len(points), SHARE)
    for chosen in combinations(range(len(points)), threshold):
        assert combine([points[i] for i in chosen], shares[list(chosen)]) == secret


@given(KEYS, KEYS)
def test_one_share_less_fits_every_secret(secret: bytes, key: bytes) -> None:
    """With two of three shares, every third one comes to another secret: none is ruled out."""
    shares = split(secret, 3, (1, 2, 3), key)
    found = set[bytes | None]()
    for third in range(40):
        shares[2] = np.full(SHARE // 4, third, "<u4").view(np.uint8)
        found.add(combine((1, 2, 3), shares))
    assert len(found) > 30 or None in found


def test_a_share_is_as_random_as_a_key() -> None:
    secret = bytes(32)
    drawn = [split(secret, 2, (5,), derive(secret, "k", i.to_bytes(2, "big")))[0].view("<u4") for i in range(2000)]
    numbers = np.concatenate(drawn) / PRIME
    assert abs(numbers.mean() - 0.5) < 4 / np.sqrt(12 * numbers.size)
    assert np.array_equal(split(secret, 1, (5,), secret)[0], np.zeros(SHARE, np.uint8))  # One is enough: no secret.


def test_the_modulus_is_a_prime() -> None:
    assert all(PRIME % factor for factor in range(2, 46341))


@given(KEYS, KEYS, st.integers(0, SHARE - 1))
def test_a_wrong_share_gives_a_wrong_secret(secret: bytes, key: bytes, byte: int) -> None:
    shares = split(secret, 2, (1, 2), key)
    shares[1, byte] ^= 1
    assert combine((1, 2), shares) != secret


# Numbers.


@given(
    st.sampled_from([32, 64]),
    st.lists(st.lists(st.floats(-16, 16), min_size=3, max_size=3), min_size=2, max_size=20),
    st.floats(0.0, 50.0),
)
def test_a_sum_in_the_ring_is_right_to_a_step_for_each(bits: int, rows: list[list[float]], weight: float) -> None:
    ring, total = Ring(bits, len(rows), 16.0, 50.0), np.zeros(3, f"<i{bits // 8}")
    for i, row in enumerate(rows):
        out = np.empty(3, ring.kind)
        ring.encode(np.array(row), weight, Stream(derive(bytes(32), "n", bytes([i]))), out)
        total += out
    wanted = weight * np.array(rows).sum(axis=0)
    assert np.abs(ring.decode(total, len(rows)) - wanted).max() <= len(rows) / ring.scale + 1e-9


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_the_largest_numbers_of_all_do_not_wrap_around(bits: int) -> None:
    members = 100
    ring = Ring(bits, members, 2.0, 3.0)
    for sign in (-1.0, 1.0):
        total, out = np.zeros(8, ring.kind), np.empty(8, ring.kind)
        for i in range(members):
            ring.encode(np.full(8, sign * 2.0), 3.0, Stream(derive(bytes(32), "n", bytes([i]))), out)
            total += out
        assert np.abs(ring.decode(total, members) - sign * 600.0).max() <= members / ring.scale


def test_rounding_is_right_on_average() -> None:
    ring = Ring(16, 2, 1.0, 1.0)
    out = np.empty(200_000, ring.kind)
    ring.encode(np.full(out.size, 0.3 / ring.scale), 1.0, Stream(derive(bytes(32), "n")), out)
    assert set(out.tolist()) == {0, 1}
    assert abs(float(out.mean()) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / out.size)


def test_too_many_for_a_ring_are_refused_in_a_sentence() -> None:
    with pytest.raises(RingError, match="A ring of 16 bits leaves each of 1000 devices"):
        Ring(16, 1000, 1.0, 1.0)
    with pytest.raises(RingError, match="do not add up in 64 bits"):
        Ring(64, 10**6, 1.0, 1e9)


def test_a_mask_that_is_left_over_shows() -> None:
    ring = Ring(32, 100, 1.0, 1.0)
    total = np.zeros(64, ring.kind)
    add_mask((total,), derive(bytes(32), "left over"))
    with pytest.raises(RingError, match="does not cancel out"):
        ring.decode(total, 100)


# Graphs.


def draws_of(members: int, count: int, key: bytes = bytes(32)) -> Peers:
    return np.stack([drawn(derive(key, "d", i.to_bytes(4, "big")), members, count, i) for i in range(members)])


@pytest.mark.parametrize(("members", "threshold"), [(2, 0.5), (9, 0.6), (100, 0.6), (300, 0.5)])
def test_pairs_stand_both_ways_and_hold_what_was_drawn(members: int, threshold: float) -> None:
    count = degree(members, threshold)
    draws, masked = draws_of(members, count), max(1, count // 2)
    graph = PeerGraph.of(draws, masked)
    assert np.array_equal(graph.owners[graph.twins], graph.peers)
    assert np.array_equal(graph.twins[graph.twins], np.arange(len(graph.peers)))
    for number in (0, members // 2, members - 1):
        peers, mine = graph.peers[graph.row(number)], np.sort(draws[number])
        assert (np.diff(peers) > 0).all()
        assert number not in peers
        assert np.array_equal(graph.peers[graph.dealt_by(number)], mine)
        dealers = [other for other in range(members) if number in draws[other]]
        assert graph.peers[graph.dealt_to(number)].tolist() == dealers
        first = {*draws[number][:masked].tolist(), *(d for d in dealers if number in draws[d][:masked])}
        assert {*peers[graph.masks[graph.row(number)]].tolist()} == first


def test_a_draw_is_of_so_many_others_and_the_key_decides_it() -> None:
    one, other = (drawn(derive(bytes(32), name), 1000, 120, 7) for name in ("a", "b"))
    for found in (one, other):
        assert len({*found.tolist()} - {7}) == 120
        assert 0 <= found.min() < found.max() < 1000
    assert len({*one.tolist()} & {*other.tolist()}) < 40  # 14 by chance.
    assert drawn(bytes(32), 5, 4, 2).tolist() == [0, 1, 3, 4]
    assert degree(1000, 0.5) < 150
    assert degree(10_000, 0.5) < 1.4 * degree(1000, 0.5)
    assert degree(100, 0.5) == 99


@pytest.mark.parametrize("threshold", [0.5, 0.6])
def test_with_as_many_gone_as_it_is_made_for_a_round_goes_on(threshold: float) -> None:
    members, rng = 1000, np.random.default_rng(0)
    count = degree(members, threshold)
    graph = PeerGraph.of(draws_of(members, count), count // 2)
    gone = round(0.6 * (1 - threshold) * members)
    for _ in range(20):
        here = np.ones(members, np.bool_)
        here[rng.choice(members, gone, replace=False)] = False
        assert np.array_equal(with_enough_peers(graph, here, needed(count, threshold)), here)


def test_who_has_too_few_peers_goes_and_takes_others_along() -> None:
    graph = PeerGraph.of(draws_of(4, 3), 3)
    here = np.array([True, True, True, False])
    assert with_enough_peers(graph, here, 2).tolist() == [True, True, True, False]
    assert not with_enough_peers(graph, here, 3).any()


def test_of_complaints_the_one_in_most_goes() -> None:
    assert culprits([(0, 3), (1, 3), (2, 3)]) == {3}  # It sends rubbish to all.
    assert culprits([(3, 0), (3, 1), (3, 2)]) == {3}  # It complains about all.
    assert culprits([(0, 1)]) == {1}
    assert culprits([]) == set()


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] != pair[1])))
def test_without_the_culprits_nobody_complains(complaints: set[tuple[int, int]]) -> None:
    gone = culprits(complaints)
    assert all(gone & {*pair} for pair in complaints)
