"""Noise in shares hides each device as well as it says: the adversary knows all but one, and looks at their sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.privacy.distributed import FINEST, Grid, GridError, Kind, SharedNoise
from fogline.privacy.noise.source import Source

KINDS: tuple[Kind, ...] = ("skellam", "discrete_gaussian")
SHARED = SharedNoise("skellam", clip=0.5, noise=2.0, left=0.8)
Whole = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Encode = Callable[[Grid, Floats, int], Whole]


def key(*parts: int) -> Source:
    return Source(bytes(parts) + bytes(32 - len(parts)))


def encode(grid: Grid, vector: Floats, seed: int) -> Whole:
    return grid.encode(vector, key(1), key(2, seed % 256, seed // 256), key(3, seed % 256, seed // 256))


def without_noise(grid: Grid, vector: Floats, seed: int) -> Whole:
    return encode(grid, vector, seed) - grid.noise.draw(grid.size, key(3, seed % 256, seed // 256))


def sums_of(grid: Grid, given: list[Floats], seed: int = 0, make: Encode = encode) -> Floats:
    """The sum as an aggregator finds it behind the masks."""
    kind = f"i{grid.bits // 8}"
    parts = [make(grid, vector, seed + i).astype(kind) for i, vector in enumerate(given)]
    return grid.decode(np.sum(parts, axis=0, dtype=kind), key(1), len(given))


def vectors(count: int, size: int, length: float) -> list[Floats]:
    made = np.random.default_rng(7).standard_normal((count, size))
    return list(made * (length / np.linalg.norm(made, axis=1, keepdims=True)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("there", [8, 10])
def test_a_sum_is_off_by_the_noise_that_is_claimed(kind: Kind, bits: int, there: int) -> None:
    grid = Grid(replace(SHARED, kind=kind), 5000, 10, bits)
    given = vectors(there, 5000, 0.4)
    off = sums_of(grid, given) - np.sum(given, axis=0)
    wanted = (SHARED.noise * SHARED.clip) ** 2 * there / 8  # Shares are such that eight of ten are enough.
    assert np.mean(off**2) / wanted == pytest.approx(1.0, abs=5 * math.sqrt(2 / 5000) + 0.02)
    assert grid.rho(there) == pytest.approx(8 / there / (2 * SHARED.noise**2), rel=0.01)
    assert grid.rho(8) <= 1 / (2 * SHARED.noise**2) * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 400),
    st.floats(1e-3, 1e6),
    st.sampled_from([16, 32, 64]),
    st.integers(0, 2**16 - 1),
    st.booleans(),
)
def test_no_device_changes_a_sum_by_more_than_is_claimed(
    kind: Kind, size: int, length: float, bits: int, seed: int, alone: bool
) -> None:
    grid = Grid(replace(SHARED, kind=kind), size, 20, bits)
    vector = np.random.default_rng(seed).standard_normal(size) * (np.arange(size) == seed % size if alone else 1.0)
    whole = without_noise(grid, vector / np.linalg.norm(vector) * length, seed)
    assert int(whole @ whole) <= grid.most_square
    assert math.sqrt(grid.most_square) * grid.step <= 1.12 * SHARED.clip
    assert np.abs(whole).max() <= grid.range(1)


def skipping_the_clip(grid: Grid, vector: Floats, seed: int) -> Whole:
    loose = replace(grid, shared=replace(grid.shared, clip=4 * grid.shared.clip, noise=grid.shared.noise / 4))
    return np.rint(encode(loose, vector, seed) * (loose.step / grid.step)).astype(np.int64)


def halving_the_noise(grid: Grid, vector: Floats, seed: int) -> Whole:
    noise = grid.noise.draw(grid.size, key(3, seed % 256, seed // 256))
    return encode(grid, vector, seed) - noise + noise // 2


def counting_twice(grid: Grid, vector: Floats, seed: int) -> Whole:
    return encode(grid, vector, seed) + without_noise(grid, vector, seed)


def advantage(grid: Grid, make: Encode, rounds: int = 30) -> float:
    """How well an adversary tells rounds with a device from those with zeros in its place: the distance of what it
    measures there, over its standard deviation. It knows all others, and the direction of what it looks for."""
    others, target = vectors(2, grid.size, 0.5), np.zeros(grid.size)
    target[3] = 3.0  # Much longer than the clip.
    off: list[Floats] = []
    for i, first in enumerate((target, np.zeros(grid.size))):
        sums = [sums_of(grid, [first, *others], 200 * i + 3 * turn, make) for turn in range(rounds)]
        off.append(np.array(sums) - np.sum(others, axis=0))
    noise = np.std(np.delete(np.concatenate(off), 3, axis=1))
    return float((off[0][:, 3].mean() - off[1][:, 3].mean()) / noise)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adversary_that_knows_all_others_learns_no_more_than_is_claimed(kind: Kind) -> None:
    grid = Grid(SharedNoise(kind, clip=0.5, noise=0.3, left=1.0), 60, 3, 32)
    claimed = math.sqrt(2 * grid.rho(3))  # As of a Gaussian of that size.
    odd = 4 * math.sqrt(2 / 30)
    assert claimed == pytest.approx(1 / 0.3)
    assert advantage(grid, encode) == pytest.approx(claimed, abs=odd)
    for wrong in (skipping_the_clip, halving_the_noise, counting_twice):
        assert advantage(grid, wrong) > claimed + odd, wrong


# What is claimed of it, against what it is.


def divergence(order: float, one: Floats, other: Floats) -> float:
    """Of Rényi."""
    kept = (one > 1e-290) & (other > 1e-290)
    return float(np.log(np.sum(one[kept] ** order * other[kept] ** (1 - order)))) / (order - 1)


def noise_of(kind: Kind, variance: float, members: int) -> Floats:
    """Chances of whole numbers from -2000 to 2000, of the sum of that many shares."""
    places = np.arange(-2000, 2001)
    if kind == "discrete_gaussian":
        one = np.exp(-(places**2) / (2 * variance))
        made = np.fft.ifft(np.fft.fft(np.fft.ifftshift(one / one.sum())) ** members).real
        return np.maximum(np.fft.fftshift(made), 0.0)
    angles = 2 * np.pi * np.arange(places.size) / places.size
    made = np.fft.ifft(np.exp(members * variance * (np.cos(angles) - 1))).real
    return np.maximum(np.fft.fftshift(made), 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_what_is_claimed_is_an_upper_bound_at_every_order(kind: Kind, noise: float) -> None:
    # One number, so that the whole sensitivity is in it; a coarse grid, so that rounding counts.
    grid = Grid(SharedNoise(kind, 8.0, noise, 1.0), 1, 3, 16)
    coarse = replace_step(grid, 0.5)
    shift = math.isqrt(coarse.most_square)
    chances = noise_of(kind, coarse.noise.variance, 3)
    moved = np.roll(chances, shift)
    chances, moved = (np.where(part > 1e-14, part, 0.0) for part in (chances, moved))
    for order in (1.01, 1.5, 2.0, 2.5, 4.7):
        found = divergence(order, moved, chances)
        assert found <= coarse.rho(3) * order * (1 + 1e-6)
        assert found > 0.7 * coarse.rho(3) * order or order > 3, "the bound says nothing"


def replace_step(grid: Grid, step: float) -> Grid:
    """The same on a coarser grid."""
    made = replace(grid)
    vars(made).clear()
    vars(made).update(vars(grid), step=step)
    for name in ("most_square", "noise", "_excess"):
        vars(made).pop(name, None)
    return made


# Room.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_sum_of_updates_that_are_all_alike_does_not_wrap(kind: Kind, bits: int) -> None:
    grid = Grid(SharedNoise(kind, 1.0, 0.5, 1.0), 256, 100, bits)
    assert grid.range(100) <= 2.0 ** (bits - 2)
    one = np.zeros(256)
    one[7] = 1.0
    assert np.abs(sums_of(grid, [one] * 100) - 100 * one).max() < 5 * 0.5


def test_a_sum_that_cannot_be_is_refused() -> None:
    grid = Grid(SHARED, 100, 10, 32)
    with pytest.raises(GridError, match="mask does not cancel out"):
        grid.decode(np.random.default_rng(0).integers(-(2**31), 2**31, 100).astype(np.int32), key(1), 10)


@pytest.mark.parametrize(
    ("size", "members", "bits", "said"),
    [(100, 5000, 16, "16 bits is too coarse for sums of 5000"), (10**6, 3, 32, "or discrete_gaussian")],
)
def test_what_is_too_coarse_is_refused(size: int, members: int, bits: int, said: str) -> None:
    with pytest.raises(GridError, match=said):
        Grid(SharedNoise("skellam", 1.0, 30.0, 0.8), size, members, bits)
    assert Grid(SharedNoise("discrete_gaussian", 1.0, 30.0, 0.8), size, members, 64).step > 0


def test_shares_are_no_finer_than_they_can_be_drawn() -> None:
    for kind in KINDS:
        assert Grid(replace(SHARED, kind=kind), 100, 3, 64).noise.variance <= FINEST[kind] ** 2
