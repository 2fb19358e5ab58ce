"""Sketches: a commutative monoid, the formulas, hostile bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fogline.inference.features import MISSING, MOST, OTHER, WIDTH
from fogline.inference.shifts import distance, distance_by_chance, stability, stability_by_chance
from fogline.inference.sketches import LARGEST, Reference, Sketch, SketchError, build_reference, merged

Inputs = dict[str, npt.NDArray[Any]]


def batch(rng: np.random.Generator, rows: int) -> tuple[Inputs, npt.NDArray[Any]]:
    inputs: Inputs = {
        "x": rng.normal(size=(rows, 2, 3)).astype(np.float32),
        "kind": rng.integers(0, 5, (rows, 1)),
        "word": np.array([[f"w{i}".encode()] for i in rng.integers(0, 3, rows)], object),
    }
    return inputs, rng.beta(5, 1, rows)


REFERENCE = build_reference(*batch(np.random.default_rng(0), 2000))


def feature(name: str) -> int:
    return [f.name for f in REFERENCE.features].index(name)


def test_features_have_names_that_say_where_they_are() -> None:
    names = [f.name for f in REFERENCE.features]
    assert names[:6] == ["x[0,0]", "x[0,1]", "x[0,2]", "x[1,0]", "x[1,1]", "x[1,2]"]
    assert names[6:] == ["kind", "word", "x mean", "x spread", "confidence"]


def test_numbers_fall_into_deciles_and_categories_into_bins_of_their_own() -> None:
    share = REFERENCE.counts / 2000
    np.testing.assert_allclose(share[feature("x[0,0]"), :10], 0.1, atol=0.002)
    inputs, _ = batch(np.random.default_rng(0), 2000)
    assert share[feature("kind"), :5].tolist() == (np.bincount(inputs["kind"].ravel()) / 2000).tolist()
    strange = {"kind": np.array([[7], [-1], [2]]), "word": np.array([[b"new"], [b""], [b"w1"]], object)}
    counts = REFERENCE.sketch(strange, np.zeros(0)).counts
    assert counts[feature("kind"), OTHER] == 2
    assert counts[feature("kind"), 2] == 1
    assert counts[feature("word"), OTHER] == 1
    assert counts[feature("word"), MISSING] == 1


def test_missing_and_infinite_values_are_counted() -> None:
    x = np.zeros((4, 2, 3), np.float32)
    x[0, 0, 0], x[1, 0, 0], x[2, 0, 0] = np.nan, np.inf, -np.inf
    counts = REFERENCE.sketch({"x": x}, np.zeros(0)).counts
    row = counts[feature("x[0,0]")]
    assert row[MISSING] == 1
    assert row[0] >= 1
    assert row[9] >= 1
    assert row.sum() == 4
    assert counts[feature("confidence")].sum() == 0


def test_a_mass_on_the_largest_value_is_told_from_the_rest() -> None:
    values = np.ones((1000, 1))
    values[:100, 0] = np.linspace(0, 0.9, 100)
    reference = build_reference({"x": values}, np.zeros(0))
    assert reference.sketch({"x": np.zeros((500, 1))}, np.zeros(0)).shifts(reference)[0].psi > 1


def test_of_a_large_input_the_columns_that_explain_the_others_are_watched() -> None:
    rng = np.random.default_rng(1)
    causes = rng.normal(size=(800, 10))
    x = np.repeat(causes, 100, axis=1) + 1e-3 * rng.normal(size=(800, 1000))
    x[:, 990:] = 0.0
    reference = build_reference({"x": x}, np.zeros(0))
    watched = [f.place for f in reference.features if f.place >= 0]
    assert len(watched) == MOST
    assert {place // 100 for place in watched} == set(range(10))
    assert not [place for place in watched if place >= 990], "a constant explains nothing"
    assert len(reference.encode()) < LARGEST


def test_a_sample_of_another_length_counts_only_in_mean_and_spread() -> None:
    counts = REFERENCE.sketch({"x": np.zeros((3, 9))}, np.zeros(0)).counts.sum(1)
    assert counts[feature("x[0,0]")] == 0
    assert counts[feature("x mean")] == counts[feature("x spread")] == 3


# The monoid

rows = st.integers(0, 40)
seeds = st.integers(0, 2**32 - 1)
sketches = st.builds(lambda seed, n: REFERENCE.sketch(*batch(np.random.default_rng(seed), n)), seeds, rows)


def same(a: Sketch, b: Sketch) -> bool:
    return a.reference == b.reference and np.array_equal(a.counts, b.counts)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(sketches, sketches, sketches)
def test_addition_is_commutative_and_associative_with_a_zero(a: Sketch, b: Sketch, c: Sketch) -> None:
    assert same(a + b, b + a)
    assert same((a + b) + c, a + (b + c))
    assert same(a + Sketch.zero(REFERENCE), a)
    assert merged(a.encode(), b.encode()) == (a + b).encode()
    assert merged(b"", a.encode()) == a.encode()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seeds, rows, rows)
def test_a_sketch_of_a_batch_is_the_sum_of_those_of_its_parts(seed: int, first: int, second: int) -> None:
    inputs, sure = batch(np.random.default_rng(seed), first + second)
    parts = [
        REFERENCE.sketch({name: values[part] for name, values in inputs.items()}, sure[part])
        for part in (slice(first), slice(first, None))
    ]
    assert same(parts[0] + parts[1], REFERENCE.sketch(inputs, sure))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(sketches)
def test_bytes_give_the_sketch_back(a: Sketch) -> None:
    assert same(Sketch.decode(a.encode()), a)


def test_bytes_give_the_reference_back() -> None:
    again = Reference.decode(REFERENCE.encode())
    assert again.digest == REFERENCE.digest
    sample = batch(np.random.default_rng(5), 100)
    assert same(again.sketch(*sample), REFERENCE.sketch(*sample))


def test_counts_stop_at_the_largest_and_do_not_overflow() -> None:
    full = Sketch(REFERENCE.digest, np.full_like(REFERENCE.counts, 2**53))
    assert same(full + full, full)
    assert same(Sketch.decode((full + full).encode()), full)


# The measures


def test_measures_follow_their_formulas() -> None:
    rng = np.random.default_rng(2)
    counts, reference = rng.integers(1, 50, (4, WIDTH)), rng.integers(1, 500, (4, WIDTH))
    for i in range(4):
        p = [(n + 0.5) / (counts[i].sum() + 0.5 * WIDTH) for n in counts[i]]
        q = [(n + 0.5) / (reference[i].sum() + 0.5 * WIDTH) for n in reference[i]]
        assert stability(counts, reference)[i] == pytest.approx(
            sum((a - b) * np.log(a / b) for a, b in zip(p, q, strict=True))
        )
        gaps = [abs(counts[i, :k].sum() / counts[i].sum() - reference[i, :k].sum() / reference[i].sum())
                for k in range(1, WIDTH)]  # fmt: skip
        assert distance(counts, reference)[i] == pytest.approx(max(gaps))


def test_the_bound_of_chance_is_the_quantile_of_chi_squared() -> None:
    """10 bins, 99.9 %: 27.877 of the tables; and sqrt(ln(2000) / 2) for KS."""
    counts = np.zeros((1, WIDTH), np.int64)
    counts[0, :10] = 10
    assert stability_by_chance(counts, 10 * counts)[0] == pytest.approx(27.877 * (1 / 100 + 1 / 1000), rel=0.01)
    assert distance_by_chance(counts, 10 * counts)[0] == pytest.approx(1.9495 * np.sqrt(0.011), rel=1e-3)


def test_many_samples_give_the_plain_value() -> None:
    shifted = {"x": np.random.default_rng(3).normal(0.5, 1, (200_000, 2, 3)).astype(np.float32)}
    reference = build_reference(batch(np.random.default_rng(4), 200_000)[0] | {}, np.zeros(0))
    sketch = reference.sketch(shifted, np.zeros(0))
    plain = stability(sketch.counts, reference.counts)[0]
    assert sketch.psi(reference)["x[0,0]"] == pytest.approx(plain, rel=0.01)
    assert plain == pytest.approx(0.25, abs=0.03), "PSI of normal distributions half a deviation apart is 1/4"
    assert sketch.ks(reference)["x[0,0]"] == pytest.approx(0.1974, abs=0.02), "and KS 2 Phi(1/4) - 1, in the limit"


@pytest.mark.parametrize("count", [20, 50, 200, 2000])
def test_clean_samples_raise_no_alarm_and_shifted_ones_do(count: int) -> None:
    """Ten references, thirty samples each: 3,600 features that have not moved."""
    moved = alarms = found = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        reference = build_reference(*batch(rng, 1000))
        for _ in range(30):
            inputs, sure = batch(rng, count)
            worst = reference.sketch(inputs, sure).shifts(reference)[0].psi
            moved += worst > 0
            alarms += worst > 0.1
            far = reference.sketch(inputs | {"x": inputs["x"] * 2 + 1}, sure).shifts(reference)[0]
            found += far.psi > 0.25
    assert alarms == 0
    assert moved <= 6, "one look in a thousand is what the bound allows; chi-squared is an approximation"
    assert found == 300 or count == 20


# Hostile bytes


def test_sketches_of_other_references_are_refused() -> None:
    other = build_reference({"x": np.arange(100.0).reshape(-1, 1)}, np.zeros(0))
    with pytest.raises(SketchError, match="two different references"):
        Sketch.zero(other) + Sketch.zero(REFERENCE)
    with pytest.raises(SketchError, match="another reference"):
        Sketch.zero(other).shifts(REFERENCE)
    lying = Sketch(REFERENCE.digest, np.ones((2, WIDTH), np.int64))
    with pytest.raises(SketchError, match="another reference"):
        lying.psi(REFERENCE)


@pytest.mark.parametrize(
    "value",
    [
        None,
        ["0" * 32, [[-1]]],
        ["0" * 32, [[2**60]]],
        ["0" * 32, [[1] * (WIDTH + 1)]],
        ["0" * 32, [[1]] * 1000],
        ["short", [[1]]],
        ["0" * 32, [[1.5]]],
    ],
)
def test_what_is_no_sketch_is_refused_with_a_sentence(value: Any) -> None:
    with pytest.raises(SketchError, match=r"The sketch cannot be read: .*\.$"):
        Sketch.decode(msgspec.msgpack.encode(value))


def test_what_is_too_large_is_not_read() -> None:
    with pytest.raises(SketchError, match="refused; the largest has 65536"):
        Sketch.decode(bytes(LARGEST + 1))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_damaged_bytes_are_a_sketch_or_an_error(place: int, damage: bytes, is_reference: bool) -> None:
    data = bytearray((REFERENCE if is_reference else Sketch(REFERENCE.digest, REFERENCE.counts)).encode())
    place %= len(data)
    data[place : place + len(damage)] = damage
    try:
        found = (Reference if is_reference else Sketch).decode(bytes(data))
    except SketchError:
        return
    assert found.counts.min() >= 0
    if isinstance(found, Reference):
        found.sketch(*batch(np.random.default_rng(0), 5))
