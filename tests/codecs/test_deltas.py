"""Deltas between models: exact where they say so, the same for all who take them, and safe to read from anybody."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fogline.codecs import blocks, int8, sparse
from fogline.codecs.deltas import CODECS, DeltaError, against, apply, encode
from fogline.codecs.payload import Header, pack
from fogline.params import Entry, Params, Spec, as_stored, from_bytes, load, save, to_bytes

LOSSY = ["int8", "sparse"]
LAYOUTS = {
    "single": [Entry("w", (300,), "float32"), Entry("b", (7,), "float32")],
    "double": [Entry("w", (300,), "float64"), Entry("b", (7,), "float32")],
    "half": [Entry("w", (150,), "float16"), Entry("v", (150,), "bfloat16")],
    "normed": [
        Entry("w", (9, 30), "float32"),
        Entry("mean", (30,), "float32", role="buffer"),
        Entry("batches", (), "int64", role="buffer"),
        Entry("mask", (5,), "uint8", role="buffer"),
    ],
    "counters": [Entry("batches", (3,), "int64", role="buffer")],
    "empty": [],
    "hollow": [Entry("w", (0, 4), "float32")],
}
SPECS = {name: Spec.of(entries) for name, entries in LAYOUTS.items()}
WIDE = Spec.of([Entry("w", (50_000,), "float32")])


def of_bits(spec: Spec, bits: npt.NDArray[np.uint64], counters: npt.NDArray[np.int64]) -> Params:
    """A model of any bit patterns, NaN of all kinds among them."""
    kind = np.uint64 if spec.dtype == np.float64 else np.uint32
    vector = np.resize(bits, spec.floats).astype(kind).view(spec.dtype)
    return Params(spec, vector, np.resize(counters, spec.integers))


def drawn(spec: Spec, seed: int, size: float = 0.1) -> Params:
    rng = np.random.default_rng(seed)
    vector = (size * rng.standard_normal(spec.floats)).astype(spec.dtype)
    return as_stored(Params(spec, vector, rng.integers(0, 100, spec.integers)))


def moved(params: Params, seed: int, size: float = 0.01) -> Params:
    step = drawn(params.spec, seed, size)
    return as_stored(Params(params.spec, params.vector + step.vector, params.counters + 1))


def assert_same_bits(one: Params, other: Params) -> None:
    assert one.spec == other.spec
    assert one.vector.dtype == other.vector.dtype
    assert one.vector.tobytes() == other.vector.tobytes()
    assert one.counters.tobytes() == other.counters.tobytes()
    assert to_bytes(one) == to_bytes(other)


# The file is what nodes compare


any_bits = arrays.arrays(np.uint64, 40, elements=st.integers(0, 2**64 - 1))
any_integers = arrays.arrays(np.int64, 6, elements=st.integers(-(2**63), 2**63 - 1))
layouts = st.sampled_from(list(SPECS.values()))


@given(layouts, any_bits, any_integers)
@settings(derandomize=True)
def test_a_stored_model_survives_its_file_to_the_bit(spec: Spec, bits: Any, counters: Any) -> None:
    stored = as_stored(of_bits(spec, bits, counters))
    assert_same_bits(from_bytes(to_bytes(stored)), stored)
    assert as_stored(stored).vector.tobytes() == stored.vector.tobytes()


@pytest.mark.parametrize("name", SPECS)
def test_the_same_numbers_give_the_same_file(tmp_path: Path, name: str) -> None:
    params = drawn(SPECS[name], 1)
    save(tmp_path / "a", params)
    save(tmp_path / "b", from_bytes(to_bytes(params)))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == to_bytes(params)
    assert_same_bits(load(tmp_path / "a"), params)


def test_a_file_looks_as_nodes_of_any_age_expect() -> None:
    # Nodes of different age compare digests of files: another order of tensors or keys would part them.
    spec = Spec.of([Entry("w", (2,), "float32"), Entry("h", (1,), "float16"), Entry("n", (), "int64", role="buffer")])
    params = Params(spec, np.array([1, 2, 3], np.float32), np.array([7]))
    header = (
        b'{"__metadata__":{"fogline.layout":"[[\\"w\\",[2],\\"float32\\",\\"trained\\"],[\\"h\\",[1],\\"float16\\",'
        b'\\"trained\\"],[\\"n\\",[],\\"int64\\",\\"buffer\\"]]"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},'
        b'"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},"h":{"dtype":"F16","shape":[1],"data_offsets":[16,18]}}'
    )
    header += b" " * (-len(header) % 8)
    numbers = np.int64(7).tobytes() + np.array([1, 2], "<f4").tobytes() + np.array([3], "<f2").tobytes()
    assert to_bytes(params) == len(header).to_bytes(8, "little") + header + numbers


# Each codec


@given(layouts, any_bits, any_bits, any_integers, any_integers)
@settings(derandomize=True)
def test_lossless_is_exact_for_all_bits(spec: Spec, before: Any, after: Any, few: Any, many: Any) -> None:
    base, target = of_bits(spec, before, few), of_bits(spec, after, many)
    encoded = encode("lossless", base, target)
    assert_same_bits(encoded.params, as_stored(target))
    assert_same_bits(apply("lossless", base, encoded.payload), as_stored(target))


def test_lossless_keeps_what_looks_alike() -> None:
    odd = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38], np.float32)
    bits = np.concatenate([odd, np.array([0x7F800001, 0xFFC12345], np.uint32).view(np.float32)])
    spec = Spec.of([Entry("w", bits.shape, "float32")])
    base, target = Params(spec, np.roll(bits, 1), np.zeros(0, np.int64)), Params(spec, bits, np.zeros(0, np.int64))
    received = apply("lossless", base, encode("lossless", base, target).payload)
    assert received.vector.tobytes() == bits.tobytes()


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("name", SPECS)
def test_a_receiver_has_what_the_sender_says(codec: str, name: str) -> None:
    base = drawn(SPECS[name], 1)
    encoded = encode(codec, base, moved(base, 2))
    assert encoded.codec == codec
    assert_same_bits(apply(codec, base, encoded.payload), encoded.params)
    # Also one that read its base from a file.
    assert_same_bits(apply(codec, from_bytes(to_bytes(base)), encoded.payload), encoded.params)


@pytest.mark.parametrize("codec", LOSSY)
def test_lossy_codecs_leave_buffers_and_counters_alone(codec: str) -> None:
    base = drawn(SPECS["normed"], 1)
    target = moved(base, 2)
    target.view("mean")[:] *= 1e9  # would drown the scale of a block
    got = encode(codec, base, target).params
    assert got.view("mean").tobytes() == target.view("mean").tobytes()
    assert got.counters.tolist() == target.counters.tolist()
    assert got.view("w").tobytes() != target.view("w").tobytes()


@given(arrays.arrays(np.float32, st.integers(0, 700), elements=st.floats(-(2.0**60), 2.0**60, width=32)))
@example(np.zeros(300, np.float32))
@example(np.full(257, 1e-45, np.float32))
@settings(derandomize=True)
def test_a_block_is_off_by_half_a_step_at_most(values: npt.NDArray[np.float32]) -> None:
    codes, scales = int8.quantised(values)
    assert scales.size == -(-values.size // int8.BLOCK)
    error = np.abs(blocks.restored(codes, scales, int8.BLOCK).astype(np.float64) - values)
    step = np.repeat(scales.astype(np.float64), int8.BLOCK)[: values.size]
    # Half a step, and what rounding to float32 adds: relative, and half of the smallest number times the codes.
    assert (error <= 0.5 * step + 1e-6 * np.abs(values) + 64 * 1.5e-45).all()


def test_restoring_multiplies_and_adds_in_the_vectors_own_type() -> None:
    # What every machine must compute, number by number.
    base, target = drawn(WIDE, 1).vector, drawn(WIDE, 2).vector
    codes, scales = int8.quantised(target - base)
    got = apply("int8", *_delta("int8", base, target)).vector
    for place in range(0, base.size, 997):
        product = np.float32(np.float32(codes[place]) * scales[place // int8.BLOCK])
        assert got[place] == np.float32(base[place] + product)


def _delta(codec: str, base: Any, target: Any) -> tuple[Params, bytes]:
    none = np.zeros(0, np.int64)
    one = Params(WIDE, base, none)
    return one, encode(codec, one, Params(WIDE, target, none)).payload


@given(st.sets(st.integers(0, 3000)))
@example({254})
@example({255})
@example({509, 510, 511, 1021})
@settings(derandomize=True)
def test_gaps_tell_positions(places: set[int]) -> None:
    positions = np.array(sorted(places), np.intp)
    assert sparse.positions_after(sparse.gaps_before(positions)).tolist() == positions.tolist()


def test_sparse_sends_the_largest_tenth() -> None:
    base, target = drawn(WIDE, 1), drawn(WIDE, 2)
    got = encode("sparse", base, target).params.vector
    difference = np.abs(target.vector - base.vector)
    sent = got != base.vector
    assert sent.sum() == WIDE.floats // 10
    assert difference[sent].min() >= difference[~sent].max()
    assert np.abs(got - target.vector)[sent].max() < difference[sent].max() / 100


def test_sparse_sends_nothing_of_nothing() -> None:
    base = drawn(WIDE, 1)
    encoded = encode("sparse", base, base)
    assert_same_bits(encoded.params, base)
    assert len(encoded.payload) < 100


@pytest.mark.parametrize("codec", LOSSY)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.4e38])
def test_where_numbers_are_not_finite_a_lossy_codec_gives_way(codec: str, bad: float) -> None:
    base, target = drawn(SPECS["single"], 1), drawn(SPECS["single"], 2)
    target.vector[5], base.vector[5] = bad, -bad  # the last of them are finite, their difference is not
    encoded = encode(codec, base, target)
    assert encoded.codec == "lossless"
    assert_same_bits(apply(encoded.codec, base, encoded.payload), target)


def test_sizes_are_as_promised() -> None:
    base = drawn(WIDE, 1)
    target = moved(base, 2, 0.001)
    share = {codec: len(encode(codec, base, target).payload) / WIDE.bytes for codec in CODECS}
    assert share["lossless"] < 0.75
    assert share["int8"] < 0.26
    assert share["sparse"] < 0.045


# The closed loop


@pytest.mark.parametrize("codec", CODECS)
def test_all_ways_lead_to_the_same_version(codec: str) -> None:
    trained = [drawn(WIDE, 0)]
    for seed in range(1, 6):
        trained.append(moved(trained[-1], seed, 0.003))
    versions = [against(trained[0], None, [], codec).params]
    for model in trained[1:]:
        published = against(model, versions[-1], versions[:-1], codec)
        bases = [versions[-1], *versions[:-1]]
        assert len(published.deltas) == len(bases)
        for base, delta in zip(bases, published.deltas, strict=True):
            assert delta is not None
            assert delta.codec == (codec if base is versions[-1] else "lossless")
            assert_same_bits(apply(delta.codec, base, delta.payload), published.params)
        versions.append(published.params)
    errors = [np.abs(a.vector - b.vector).mean() for a, b in zip(trained, versions, strict=True)]
    stale = np.abs(trained[-1].vector - trained[0].vector).mean()
    # What one delta loses the next one makes up for: five of them lose no more than one.
    assert max(errors) <= {"lossless": 0.0, "int8": 3e-5, "sparse": 0.75 * stale}[codec]


def test_what_waits_in_sparse_arrives() -> None:
    target = drawn(WIDE, 2)
    version = drawn(WIDE, 1)
    for _ in range(25):
        version = against(target, version, [], "sparse").params
    assert np.abs(version.vector - target.vector).max() < 1e-3


def test_a_delta_that_saves_nothing_is_left_out() -> None:
    rng = np.random.default_rng(0)
    noise = [of_bits(WIDE, rng.integers(0, 2**32, WIDE.floats).astype(np.uint64), np.zeros(0, np.int64)) for _ in "ab"]
    published = against(noise[0], noise[1], [drawn(SPECS["single"], 1), noise[0]], "int8")
    assert published.deltas[0] is None
    assert published.deltas[1] is None  # another layout
    assert published.deltas[2] is not None  # nothing has changed
    assert_same_bits(published.params, noise[0])  # not a bit is lost where nothing is saved


def test_half_precision_is_published_as_its_file_has_it() -> None:
    spec = Spec.of([Entry("w", (4000,), "float16")])
    rough = drawn(spec, 1)
    rough.vector[:] += 1e-5  # what a half cannot hold
    published = against(rough, drawn(spec, 3), [], "int8")
    assert_same_bits(from_bytes(to_bytes(published.params)), published.params)


# Who sends may be an enemy


@pytest.fixture(scope="module", params=list(CODECS))
def delta(request: pytest.FixtureRequest) -> tuple[str, Params, bytes]:
    base = drawn(SPECS["normed"], 1)
    return request.param, base, encode(request.param, base, moved(base, 2)).payload


Delta = tuple[str, Params, bytes]


def test_every_truncation_is_refused(delta: Delta) -> None:
    codec, base, payload = delta
    for length in range(len(payload)):
        with pytest.raises(DeltaError):
            apply(codec, base, payload[:length])
    with pytest.raises(DeltaError, match="too long"):
        apply(codec, base, payload + b"\0")


def test_every_flipped_bit_is_refused(delta: Delta) -> None:
    codec, base, payload = delta
    right = to_bytes(apply(codec, base, payload))
    for place in range(len(payload)):
        for bit in (0, 3, 7):
            flipped = bytearray(payload)
            flipped[place] ^= 1 << bit
            try:
                got = to_bytes(apply(codec, base, bytes(flipped)))
            except DeltaError:
                continue
            assert got == right  # a bit of a frame's header that means nothing


@given(st.binary(max_size=300))
@settings(derandomize=True)
def test_nonsense_is_refused(data: bytes) -> None:
    for codec in CODECS:
        with pytest.raises(DeltaError):
            apply(codec, drawn(SPECS["single"], 1), data)


def test_what_does_not_fit_is_refused(delta: Delta) -> None:
    codec, base, payload = delta
    with pytest.raises(DeltaError, match="another layout"):
        apply(codec, drawn(SPECS["single"], 1), payload)
    other = next(name for name in CODECS if name != codec)
    with pytest.raises(DeltaError, match=f"codec '{codec}', not '{other}'"):
        apply(other, base, payload)
    with pytest.raises(DeltaError, match="no codec 'gzip' for models; there are lossless, int8, sparse"):
        apply("gzip", base, payload)
    with pytest.raises(DeltaError, match="different layouts"):
        encode(codec, base, drawn(SPECS["single"], 1))
    with pytest.raises(DeltaError, match="no codec"):
        against(base, None, [], "gzip")


def test_a_wrong_base_shows_in_the_file(delta: Delta) -> None:
    codec, base, payload = delta
    assert to_bytes(apply(codec, moved(base, 9), payload)) != to_bytes(apply(codec, base, payload))


def compressed(size: int, **settings: Any) -> bytes:
    return zstandard.ZstdCompressor(**settings).compress(bytes(size))


def run_of_zeros(size: int) -> bytes:
    """A frame that says that it has so many bytes, and holds 128 KiB of zeros in one byte."""
    block = (1 | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little")
    return zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\xe0" + size.to_bytes(8, "little") + block + b"\0"


def test_the_frame_above_is_one() -> None:
    assert zstandard.decompress(run_of_zeros(128 << 10)) == bytes(128 << 10)


BOMBS: dict[str, Callable[[], bytes]] = {
    "large": lambda: compressed(256 << 20),
    "of unknown size": lambda: compressed(256 << 20, write_content_size=False),
    "that says it is larger than any memory": lambda: run_of_zeros(1 << 61),
    "that says it is smaller": lambda: run_of_zeros(WIDE.floats),
    "that says it is empty": lambda: run_of_zeros(0),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_not_unpacked(codec: str, kind: str) -> None:
    made = BOMBS[kind]()
    header = msgspec.msgpack.encode(Header(1, codec, bytes.fromhex(WIDE.digest), (len(made), *[0] * 20)))
    payload = len(header).to_bytes(2, "little") + header + made
    base = drawn(WIDE, 1)
    tracemalloc.start()
    with pytest.raises(DeltaError):
        apply(codec, base, payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * WIDE.bytes


@pytest.mark.parametrize(
    ("gaps", "why"),
    [
        (np.full(198, 254, np.uint8), "beyond the end"),  # the 197th value is
        (np.zeros(WIDE.floats + 1, np.uint8), "unpacks to more"),
    ],
)
def test_positions_are_checked(gaps: npt.NDArray[np.uint8], why: str) -> None:
    base, values = drawn(WIDE, 1), int((gaps < 255).sum())
    rest = [*int8.streams_of(np.ones(values, np.float32)), *[np.zeros(0, np.uint8)] * 12]
    with pytest.raises(DeltaError, match=why):
        apply("sparse", base, pack("sparse", WIDE.digest, [gaps, *rest]))
    values = 190
    rest = [*int8.streams_of(np.ones(values, np.float32)), *[np.zeros(0, np.uint8)] * 12]
    got = apply("sparse", base, pack("sparse", WIDE.digest, [gaps[:values], *rest]))
    assert (got.vector != base.vector).sum() == values


def test_more_than_the_model_is_refused() -> None:
    base = drawn(SPECS["empty"], 1)
    nothing = [np.zeros(0, np.uint8)] * 20
    with pytest.raises(DeltaError, match="more than the model"):
        apply("lossless", base, pack("lossless", base.spec.digest, [*nothing, np.ones(3, np.uint8)]))
    with pytest.raises(DeltaError, match="lacks a part"):
        apply("lossless", base, pack("lossless", base.spec.digest, nothing[:3]))
