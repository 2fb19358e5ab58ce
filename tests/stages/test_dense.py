"""The dense codes one by one: their published errors, their bits, and what comes out the same on every machine."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fogline import algorithms
from fogline.codecs import bits
from fogline.compute.files import read_update
from fogline.compute.groups import Groups
from fogline.compute.messages import Message
from fogline.params import write_arrays
from fogline.privacy.rotation import sylvester
from fogline.stages import Extent, LinkContext, Stage, StageError, make, pipeline
from fogline.stages.rotated_code import CENTROIDS, UNIT
from tests.compute.test_refusals import good
from tests.toy import SPEC

RNG = np.random.default_rng(8)
NORMAL = RNG.standard_normal(40_000).astype(np.float32)
HEAVY = (NORMAL**3 + (RNG.random(NORMAL.size) < 0.01) * 40).astype(np.float32)
LAYOUT = {"delta": Extent(np.dtype(np.float32), 1_000_000)}


def through(stage: Stage, vector: np.ndarray, seed: int = 0) -> np.ndarray:
    return stage.receive(stage.send({"delta": vector}, {}, LinkContext(seed))[0])["delta"]


def lost(stage: Stage, vector: np.ndarray) -> float:
    off = through(stage, vector).astype(np.float64) - vector
    return float(off @ off / np.square(vector, dtype=np.float64).sum())


@pytest.mark.parametrize("vector", [NORMAL, HEAVY], ids=["normal", "heavy"])
@pytest.mark.parametrize(("number", "published"), [(1, 0.571), (2, 0.133), (3, 0.0358), (4, 0.0096)])
def test_eden_loses_what_is_published_whatever_the_vector(number: int, published: float, vector: np.ndarray) -> None:
    assert lost(make(f"eden(bits={number})"), vector) == pytest.approx(published, rel=0.06)


def test_drive_is_the_shorter_twin_of_eden_with_one_bit() -> None:
    drive, eden = make("drive(feedback=false)"), make("eden(bits=1)")
    assert lost(drive, HEAVY) == pytest.approx(1 - 2 / math.pi, rel=0.03)
    assert through(drive, HEAVY) @ HEAVY < 0.7 * (HEAVY @ HEAVY)
    assert through(eden, HEAVY) @ HEAVY == pytest.approx(HEAVY @ HEAVY, rel=1e-4)
    one, other = through(drive, HEAVY[:4096], 3), through(eden, HEAVY[:4096], 3)
    assert one @ other == pytest.approx(np.linalg.norm(one) * np.linalg.norm(other), rel=1e-5)


@pytest.mark.parametrize("number", CENTROIDS)
def test_centroids_are_those_of_the_least_square_error(number: int) -> None:
    """Each is the mean of the normal numbers that are nearest to it."""
    centroids = np.array(CENTROIDS[number]) / UNIT
    grid = np.arange(0, 6, 1e-4) + 5e-5
    weights = np.exp(-np.square(grid) / 2)
    nearest = np.abs(grid[:, None] - centroids).argmin(axis=1)
    means = np.bincount(nearest, weights * grid) / np.bincount(nearest, weights)
    np.testing.assert_allclose(centroids, means, atol=1 / UNIT)


@pytest.mark.parametrize("alike", [False, True])
def test_turning_centroids_back_is_exact_whatever_the_order_of_additions(alike: bool) -> None:
    """In single precision as in double, also where all of a block ends in one number."""
    drawn = RNG.choice(CENTROIDS[4], 4096) * RNG.choice([-1, 1], 4096)
    rows = np.full((1, 4096), 51) if alike else np.rint(drawn * 0.99)[None]
    twice = RNG.choice([-1.0, 1.0], 4096)
    single = sylvester(sylvester(rows.astype(np.float32)) * twice.astype(np.float32))
    np.testing.assert_array_equal(single, sylvester(sylvester(rows.astype(np.float64)) * twice))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("fp16", 16),
        ("bf16", 16),
        ("int8", 8.13),
        ("int4", 4.25),
        ("qsgd", 5.25),
        ("qsgd(levels=1, bucket=512)", 2.07),
        ("sign", 1.04),
        ("drive", 1.02),
        ("eden", 4.02),
        ("eden(bits=3)", 3.02),
    ],
)
def test_bits_of_a_number(text: str, number: float) -> None:
    assert 8 * make(text).size(LAYOUT) / 1_000_000 == pytest.approx(number, abs=0.02)


@pytest.mark.parametrize("width", range(1, 9))
def test_packing_keeps_every_number(width: int) -> None:
    for count in (0, 1, 7, 8, 61):
        numbers = RNG.integers(0, 1 << width, count).astype(np.uint8)
        packed = bits.pack(numbers, width)
        assert packed.size == bits.packed_size(count, width)
        np.testing.assert_array_equal(bits.unpack(packed, count, width), numbers)


def test_bf16_rounds_to_the_nearest_and_ties_to_even() -> None:
    given = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -(1 + 2.0**-8 + 2.0**-20), 3e38, 1e-39], np.float32)
    wanted = np.array([1.0, 1.0, 1 + 2 * 2.0**-7, -(1 + 2.0**-7), 3e38, 1e-39])
    np.testing.assert_allclose(through(make("bf16"), given), wanted, rtol=2.0**-9 * 1.01, atol=1e-40)
    assert through(make("bf16"), given)[:4].tolist() == wanted[:4].tolist()


def test_what_half_precision_has_no_room_for_is_refused_in_a_sentence(tmp_path: Path) -> None:
    update = good(0)
    update.vectors["delta"][3] = 70_000.0
    for text, said in (("fp16", "Its vector 'delta' is not finite"), ("bf16", None)):
        sent = pipeline((text,))
        write_arrays(tmp_path / text, Message.of_update(update).encoded(sent, {}, LinkContext())[0])
        refusal = Groups(algorithms.make("fedavg"), SPEC).refusal(read_update(str(tmp_path / text), stages=sent))
        assert (refusal is None) if said is None else (said in str(refusal))


@pytest.mark.parametrize("text", ["qsgd(levels=1, feedback=true)", "eden(bits=5)", "qsgd(levels=128)"])
def test_settings_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(StageError, match=r"could grow without end|must be at least 1 and at most"):
        make(text)
