"""Models as flat vectors: layout, safetensors round trips, atomic files, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

from fogline.params import (
    Entry,
    Params,
    Spec,
    digest,
    files,
    from_bytes,
    load,
    load_arrays,
    save,
    save_arrays,
    to_bytes,
)

MIXED = Spec.of(
    [
        Entry("batches", (), "int64", role="buffer"),
        Entry("running", (3,), "float32", role="buffer"),
        Entry("half", (2, 2), "bfloat16"),
        Entry("half16", (2,), "float16"),
        Entry("weight", (2, 3), "float32"),
        Entry("mask", (4,), "bool", role="buffer"),
        Entry("small", (1,), "uint8", role="buffer"),
        Entry("empty", (0, 5), "float32"),
    ]
)


def filled(spec: Spec) -> Params:
    params = Params.zeros(spec)
    params.vector[:] = np.linspace(-2, 2, spec.floats)
    params.counters[:] = np.arange(spec.integers) % 2
    return params


def test_layout() -> None:
    assert [e.name for e in MIXED.entries] == [
        "half", "half16", "weight", "empty", "running", "batches", "mask", "small",
    ]  # fmt: skip
    assert (MIXED.trainable, MIXED.floats, MIXED.integers) == (12, 15, 6)
    assert MIXED.dtype == np.float32
    assert MIXED.bytes == 4 * 2 + 2 * 2 + 6 * 4 + 3 * 4 + 8 + 4 + 1
    assert Spec.of([Entry("a", (1,), "float64"), Entry("b", (1,), "float16")]).dtype == np.float64
    params = filled(MIXED)
    params.view("weight")[1, 2] = 9.0
    assert params.vector[11] == 9.0  # a view, in its place


def test_layout_errors() -> None:
    with pytest.raises(ValueError, match="two tensors named 'a'"):
        Spec.of([Entry("a", (), "float32"), Entry("a", (), "float32")])
    with pytest.raises(ValueError, match="complex64; supported are"):
        Spec.of([Entry("a", (), "complex64")])
    with pytest.raises(ValueError, match="cannot be trainable"):
        Spec.of([Entry("a", (), "int64")])


def test_digest_names_the_layout() -> None:
    a = Spec.of([Entry("a", (2, 3), "float32")])
    assert a.digest == Spec.of([Entry("a", (2, 3), "float32")]).digest
    others = [("b", (2, 3), "float32"), ("a", (3, 2), "float32"), ("a", (2, 3), "float16")]
    assert len({a.digest, *(Spec.of([Entry(*other)]).digest for other in others)}) == 4
    assert a.digest != Spec.of([Entry("a", (2, 3), "float32", role="buffer")]).digest


def test_round_trip_of_every_type() -> None:
    params = filled(MIXED)
    again = from_bytes(to_bytes(params))
    assert again.spec == MIXED
    np.testing.assert_array_equal(again.counters, params.counters)
    for name in ("weight", "running"):
        np.testing.assert_array_equal(again.view(name), params.view(name))
    np.testing.assert_array_equal(again.view("half16"), params.view("half16").astype(np.float16))
    assert to_bytes(again) == to_bytes(params)  # a second trip loses nothing


def test_large_integers_survive() -> None:
    spec = Spec.of([Entry("n", (2,), "int64", role="buffer")])
    params = Params.zeros(spec)
    params.counters[:] = [2**62 + 1, -(2**53) - 1]
    assert from_bytes(to_bytes(params)).counters.tolist() == [2**62 + 1, -(2**53) - 1]


TIES = [float(np.uint32(bits).view(np.float32)) for bits in (0x3F808000, 0x3F818000, 0x3F808001, 0xBF818000)]


@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
@example(TIES)
def test_bfloat16_rounds_to_the_nearest_even(values: list[float]) -> None:
    spec = Spec.of([Entry("h", (len(values),), "bfloat16")])
    params = Params(spec, np.array(values, np.float32), np.zeros(0, np.int64))
    again = from_bytes(to_bytes(params)).vector
    for x, y in zip(params.vector, again, strict=True):
        if np.isnan(x):
            assert np.isnan(y)
            continue
        bits = int(np.float32(x).view(np.uint32))
        below, above = bits & 0xFFFF0000, (bits & 0xFFFF0000) + 0x10000
        middle = below + 0x8000
        even = below if (below >> 16) % 2 == 0 else above
        wanted = even if bits == middle else (below if bits < middle else above)
        assert int(y.view(np.uint32)) == wanted


def test_torch_reads_what_is_written(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    load_file: Any = pytest.importorskip("safetensors.torch").load_file
    save(tmp_path / "m.safetensors", filled(MIXED))
    tensors = load_file(tmp_path / "m.safetensors")
    assert tensors["half"].dtype == torch.bfloat16
    assert tensors["half"].shape == (2, 2)
    assert tensors["mask"].dtype == torch.bool
    expected = torch.from_numpy(filled(MIXED).view("half").copy()).to(torch.bfloat16)
    assert torch.equal(tensors["half"], expected)


def test_from_arrays() -> None:
    params = filled(MIXED)
    again = Params.from_arrays(MIXED, params.arrays())
    np.testing.assert_array_equal(again.vector, params.vector)
    arrays = params.arrays()
    with pytest.raises(ValueError, match=r"missing \['weight'\], unknown \['wieght'\]"):
        Params.from_arrays(MIXED, {("wieght" if k == "weight" else k): v for k, v in arrays.items()})
    with pytest.raises(ValueError, match="shape"):
        Params.from_arrays(MIXED, arrays | {"weight": np.zeros((3, 2))})


def test_copy_is_independent() -> None:
    params = filled(MIXED)
    other = params.copy()
    other.vector[:] = 0.0
    other.counters[:] = 5
    assert params.vector.any()
    assert not (params.counters == 5).any()


def test_foreign_and_broken_files() -> None:
    data = to_bytes(filled(MIXED))
    for broken in (b"", b"not a model", data[: len(data) // 2], data[:-1]):
        with pytest.raises(ValueError, match="no safetensors file"):
            from_bytes(broken)
    with pytest.raises(ValueError, match="names no layout"):
        from_bytes(safetensors.numpy.save({"a": np.zeros(3)}))
    short = [["a", [4], "float32", "trained"]]
    layout = {files.LAYOUT: json.dumps(short)}
    with pytest.raises(ValueError, match="holds 3 numbers"):
        from_bytes(safetensors.numpy.save({"a": np.zeros(3, np.float32)}, layout))
    with pytest.raises(ValueError, match="does not hold"):
        from_bytes(safetensors.numpy.save({"b": np.zeros(4, np.float32)}, layout))
    with pytest.raises(ValueError, match="layout"):
        from_bytes(safetensors.numpy.save({"a": np.zeros(4, np.float32)}, {files.LAYOUT: "[[1]]"}))
    wide = {files.LAYOUT: json.dumps([["a", [2], "float64", "trained"]])}
    with pytest.raises(ValueError, match="layout says float64"):
        from_bytes(safetensors.numpy.save({"a": np.zeros(4, np.float32)}, wide))


def test_saving_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    first = filled(MIXED)
    save(path, first)

    def crash(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("fogline.storage.files.os.fsync", crash)
    second = filled(MIXED)
    second.vector[:] = 7.0
    with pytest.raises(OSError, match="full"):
        save(path, second)
    assert to_bytes(load(path)) == to_bytes(first)
    assert list(tmp_path.iterdir()) == [path]


def test_named_arrays(tmp_path: Path) -> None:
    arrays = {"a/b": np.arange(6.0).reshape(2, 3).T, "n": np.array([2**60], np.int64)}
    save_arrays(tmp_path / "x", arrays, {"note": "kept"})
    again = load_arrays(tmp_path / "x")
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype


def test_digest_is_sha256() -> None:
    assert digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
