"""Numbers that are added while they are encrypted: the sum is exact, and bytes from elsewhere are looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

tenseal = pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fogline[he]'")

from fogline.privacy.ckks import (  # noqa: E402
    DEGREE,
    LOCKER,
    MODULUS,
    ROW,
    SCALE,
    SLOTS,
    Bytes,
    CkksError,
    CkksKey,
    CkksSum,
    make_key,
)

KEY, OTHER = CkksKey(make_key()), CkksKey(make_key())


def added(*each: Bytes) -> Bytes:
    total = CkksSum(len(each[0]))
    for rows in each:
        total.add(rows)
    return total.rows()


@settings(max_examples=10)
@given(st.integers(1, 12), st.integers(1, 2 * SLOTS), st.integers(0, 2**32))
def test_the_sum_is_exact(members: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(-(2**31), 2**31, (members, size), dtype=np.int32)
    opened = KEY.open(added(*(KEY.encrypt(row) for row in words))).reshape(-1)
    assert np.array_equal(opened[:size], words.sum(axis=0, dtype=np.int64))
    assert not opened[size:].any()


def test_the_largest_numbers_of_many_do_not_overflow() -> None:
    words = np.full(SLOTS, -(2**31), np.int32)
    assert (KEY.open(added(*(KEY.encrypt(words) for _ in range(150)))) == -150 * 2**31).all()


def test_the_same_numbers_are_encrypted_differently_and_take_the_same_bytes() -> None:
    words = np.zeros(5, np.int32)
    one, other = KEY.encrypt(words), KEY.encrypt(words)
    assert not np.array_equal(one, other)
    assert one.shape == KEY.encrypt(np.full(5, 2**31 - 1, np.int32)).shape == (1, ROW)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(CkksError, match="no whole numbers"):
        OTHER.open(KEY.encrypt(np.arange(3, dtype=np.int32)))


def test_a_sum_of_two_keys_does_not_open() -> None:
    words = np.arange(3, dtype=np.int32)
    with pytest.raises(CkksError, match="no whole numbers"):
        KEY.open(added(KEY.encrypt(words), OTHER.encrypt(words)))


def row_of(text: bytes, size: int = ROW) -> Bytes:
    return np.frombuffer(len(text).to_bytes(4, "little") + text.ljust(size - 4, b"\0"), np.uint8)


def vector(degree: int = DEGREE, bits: tuple[int, ...] = MODULUS, scale: float = SCALE, size: int = SLOTS) -> bytes:
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        degree,
        coeff_mod_bit_sizes=list(bits),
        encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        n_threads=1,
    )
    return tenseal.ckks_vector(context, [0.0] * size, scale).serialize()


HOSTILE: dict[str, Callable[[], Bytes]] = {
    "nothing": lambda: np.zeros(ROW, np.uint8),
    "a length beyond the end": lambda: row_of(b"")[:4].repeat(ROW // 4) | 255,
    "text": lambda: row_of(b"hello"),
    "another scale": lambda: row_of(vector(scale=2.0**20)),
    "fewer numbers": lambda: row_of(vector(size=100)),
    "another prime": lambda: row_of(vector(bits=(50, 49))),
    "half a ciphertext": lambda: row_of(KEY.encrypt(np.zeros(1, np.int32))[0, 4:30_000].tobytes()),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_bytes_that_are_no_ciphertext_are_refused_in_a_sentence_and_change_no_sum(what: str) -> None:
    good, bad = KEY.encrypt(np.arange(SLOTS + 1, dtype=np.int32)), HOSTILE[what]()
    total = CkksSum(2)
    total.add(good)
    with pytest.raises(CkksError):
        total.add(np.stack([good[0], bad]))  # The first of the two is one.
    with pytest.raises(CkksError):
        total.add(good[:1])
    assert np.array_equal(KEY.open(total.rows()).reshape(-1)[: SLOTS + 1], np.arange(SLOTS + 1))


def test_flipped_bytes_do_no_more_than_spoil_a_sum() -> None:
    rng, good = np.random.default_rng(0), KEY.encrypt(np.arange(7, dtype=np.int32))
    refused = 0
    for _ in range(60):
        bad = good.copy()
        bad[0, rng.integers(0, 150 if rng.random() < 0.7 else ROW, 3)] ^= rng.integers(1, 256, 3, dtype=np.uint8)
        try:
            KEY.open(added(good, bad))
        except CkksError:
            refused += 1
    assert refused > 30


def test_keys_of_other_parameters_are_refused() -> None:
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1)
    context.global_scale = SCALE
    for text in (
        bytes(LOCKER),
        b"",
        row_of(b"hello", LOCKER).tobytes(),
        row_of(context.serialize(save_public_key=False)[: LOCKER - 4], LOCKER).tobytes(),
        make_key()[:-1],
    ):
        with pytest.raises(CkksError):
            CkksKey(text)
