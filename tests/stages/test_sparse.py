"""The sparse and the structured codes one by one: places and sizes, what a fog adds, and matrices of low rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.codecs.gaps import GapCode
from fogline.params import Entry, Spec
from fogline.stages import Extent, LinkContext, Named, Stage, StageError, make
from fogline.stages.placed_code import places
from fogline.stages.sparse_code import largest

RNG = np.random.default_rng(4)
MILLION = 1_000_000
PUBLISHED = [(1 / 25, 0.283), (1 / 100, 0.091), (1 / 400, 0.028)]
"""Bits of a number by share, in papers on sparse ternary compression."""


def through(stage: Stage, vector: np.ndarray, seed: int = 0, common: int = 0) -> np.ndarray:
    return stage.receive(stage.send({"delta": vector}, {}, LinkContext(seed, common=common))[0])["delta"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_gaps_come_back_wherever_the_places_are(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 400))
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1)))), np.intp)
    code = GapCode.of(count, max(chosen.size, data.draw(st.integers(0, count))))
    magnitudes = RNG.random(chosen.size)
    kept = code.fitting(chosen, magnitudes)
    encoded = code.encode(kept)
    assert encoded.size == code.size <= -(-count // 8)  # Never more than a bitmap.
    np.testing.assert_array_equal(code.decode(encoded, kept.size), kept)
    if kept.size < chosen.size:
        gone = ~np.isin(chosen, kept)
        assert kept.size >= code.least - (code.most - chosen.size)
        assert magnitudes[gone].max() <= magnitudes[~gone].min(initial=1)


@pytest.mark.parametrize(("share", "published"), PUBLISHED)
def test_stc_takes_the_published_bits(share: float, published: float) -> None:
    stage, extent = make(f"stc(share={share})"), Extent(np.dtype(np.float32), MILLION)
    code = sum(part.count * part.dtype.itemsize for part in stage.layout({"delta": extent}).values())
    assert 8 * code / MILLION == pytest.approx(published, rel=0.015)
    assert 0 < stage.size({"delta": extent}) - code < 500  # Names and lengths.


@pytest.mark.parametrize(("share", "_"), PUBLISHED)
def test_nearly_all_of_the_largest_have_room_also_in_clusters(share: float, _: float) -> None:
    number = math.ceil(share * MILLION)
    code = GapCode.of(MILLION, number)
    spread = np.sort(RNG.choice(MILLION, number, replace=False))
    together = np.sort(RNG.choice(MILLION // 20, number, replace=False)) if share < 0.04 else np.arange(number)
    for where, least in ((spread, 0.995), (together, 0.9)):
        assert code.fitting(where, RNG.random(number)).size >= least * number
    assert code.least >= 0.89 * number


def test_top_k_sends_the_largest_and_stc_their_mean() -> None:
    vector = np.array([0.1, -5, 0, 3, -0.2, 4, 1, 0], np.float32)
    np.testing.assert_array_equal(through(make("top_k(share=0.375)"), vector), [0, -5, 0, 3, 0, 4, 0, 0])
    np.testing.assert_array_equal(through(make("stc(share=0.375)"), vector), [0, -4, 0, 4, 0, 4, 0, 0])


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=40), st.data())
def test_the_largest_are_as_many_as_asked_whatever_is_alike(numbers: list[int], data: st.DataObject) -> None:
    magnitudes = np.abs(np.array(numbers, np.float32))
    number = data.draw(st.integers(0, magnitudes.size))
    found = largest(magnitudes, number)
    np.testing.assert_array_equal(np.sort(magnitudes[found]), np.sort(magnitudes)[magnitudes.size - number :])
    assert np.all(np.diff(found) > 0)


@pytest.mark.parametrize("claim", [2**31, -1, 11])
def test_a_claim_of_other_numbers_than_are_told_is_refused(claim: int) -> None:
    stage = make("top_k(share=0.1)")
    encoded, _ = stage.send({"delta": np.arange(100, dtype=np.float32)}, {}, LinkContext())
    with pytest.raises(StageError, match=r"its 'delta' is no code of TopK: it (claims|tells) .* places"):
        stage.receive(encoded | {"number/delta": np.array([claim])})


@pytest.mark.parametrize("size", [1, 7, 1000, 4097])
def test_shared_places_are_one_of_each_cell_and_all_alike_often(size: int) -> None:
    number = -(-size // 3)
    drawn = np.stack([places(size, number, np.array([seed])) for seed in range(300)])
    assert np.all(np.diff(drawn, axis=1) > 0)
    assert drawn.min() == 0
    assert drawn.max() == size - 1
    often = np.bincount(drawn.ravel(), minlength=size)
    assert often.min() > 300 / 3 * 0.5


@pytest.mark.parametrize(("text", "close"), [("random_k(share=0.1)", 0.0), ("subspace(share=0.1)", 2e-6)])
def test_what_linear_codes_come_to_loses_nothing_in_the_same_code(text: str, close: float) -> None:
    """So a fog that adds what its devices sent, and sends the sum on, loses nothing; codes may be added as they are."""
    stage, vectors = make(text), RNG.standard_normal((5, 9001)).astype(np.float32)
    assert stage.linear
    codes = [stage.send({"delta": vector}, {}, LinkContext(seed, common=7))[0] for seed, vector in enumerate(vectors)]
    total = sum(stage.receive(code)["delta"] for code in codes)
    assert isinstance(total, np.ndarray)
    again, _ = stage.send({"delta": total}, {}, LinkContext(99, common=7))
    scale = np.abs(total).max()
    np.testing.assert_allclose(stage.receive(again)["delta"], total, atol=close * scale, rtol=0)
    added: Named = codes[0] | {"values/delta": np.sum([code["values/delta"] for code in codes], axis=0)}
    np.testing.assert_allclose(stage.receive(added)["delta"], total, atol=max(close, 1e-6) * scale, rtol=0)
    other, _ = stage.send({"delta": total}, {}, LinkContext(99, common=8))
    assert np.abs(stage.receive(other)["delta"] - total).max() > 0.1 * scale


def test_a_subspace_takes_its_part_of_a_vector_with_one_number() -> None:
    vector = np.zeros(20_000, np.float32)
    vector[11] = 1
    parts = [float(np.square(through(make("subspace(share=0.1)"), vector, common=seed)).sum()) for seed in range(20)]
    assert np.allclose(parts, 0.1, atol=0.02)
    assert {float(np.square(through(make("random_k(share=0.1)"), vector, common=s)).sum()) for s in range(60)} == {0, 1}


SPEC = Spec.of(
    [Entry("conv", (16, 4, 3, 3), "float32"), Entry("bias", (16,), "float32"), Entry("m", (60, 40), "float32")]
)


def low_rank(rank: int) -> np.ndarray:
    rng = np.random.default_rng(rank)
    conv, matrix = (rng.standard_normal((a, rank)) @ rng.standard_normal((rank, b)) for a, b in ((16, 36), (60, 40)))
    return np.concatenate([conv.ravel(), rng.standard_normal(16), matrix.ravel()]).astype(np.float32)


def test_powersgd_has_matrices_of_its_rank_exactly_and_entries_as_they_are() -> None:
    stage, vector = make("powersgd(rank=2)").fitted(SPEC), low_rank(2)
    received = through(stage, vector)
    np.testing.assert_allclose(received, vector, atol=2e-5)
    np.testing.assert_array_equal(received[576:592], vector[576:592])
    layout = stage.layout({"delta": Extent(vector.dtype, vector.size)})
    assert sum(each.count for each in layout.values()) == 2 * (16 + 36 + 60 + 40) + 16 + 2


def test_powersgd_goes_on_from_its_last_factor() -> None:
    """Power iteration over messages finds the best matrix of its rank."""
    stage, vector, state = make("powersgd(rank=2, feedback=false)").fitted(SPEC), low_rank(9), Named()
    lost = list[float]()
    for seed in range(20):
        encoded, state = stage.send({"delta": vector}, state, LinkContext(seed))
        lost.append(float(np.square(stage.receive(encoded)["delta"] - vector).sum()))
    best = sum(
        np.square(np.linalg.svd(each, compute_uv=False)[2:]).sum()
        for each in (vector[:576].reshape(16, 36), vector[592:].reshape(60, 40))
    )
    assert lost[0] > 1.1 * best
    assert lost[-1] == pytest.approx(best, rel=0.02)


def test_powersgd_sends_other_vectors_as_they_are() -> None:
    stage, vector = make("powersgd").fitted(SPEC), RNG.standard_normal(100).astype(np.float32)
    np.testing.assert_array_equal(through(stage, vector), vector)
