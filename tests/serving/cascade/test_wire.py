"""Messages between tiers: they come back as they were sent, and hostile ones are refused with a sentence."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fogline.inference.runtimes.base import NUMPY
from fogline.serving.cascade.wire import (
    HOPS,
    LARGEST,
    OffloadAnswer,
    OffloadedRows,
    WireError,
    arrays,
    packed,
    read_answer,
    read_ask,
    values,
)

numbers = st.sampled_from([dtype for dtype in NUMPY.values() if not dtype.hasobject]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
)
strings = st.lists(st.binary(max_size=9), min_size=1, max_size=6).map(
    lambda items: np.array([*items, b""], object)[:-1]
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(numbers | strings)
def test_tensors_come_back_to_the_bit(array: npt.NDArray[Any]) -> None:
    ask, found = read_ask(packed(OffloadedRows("m", "1", values({"x": array}), 200, 2)))
    assert (ask.left_ms, ask.hops) == (200, 2)
    assert found["x"].dtype == array.dtype
    assert found["x"].shape == array.shape
    assert found["x"].tolist() == array.tolist() or found["x"].tobytes() == array.tobytes()
    _, again = read_answer(packed(OffloadAnswer(values({"x": array}), "fog", "m", 3)))
    assert again["x"].shape == array.shape


def test_big_endian_and_strided_arrays_are_sent_right() -> None:
    big = np.arange(6, dtype=">f4").reshape(2, 3)
    assert arrays(values({"x": big.T}))["x"].tolist() == big.T.tolist()


def ask_of(tensor: list[Any], **changes: Any) -> bytes:
    message = {"model": "m", "id": "1", "tensors": [tensor], "left_ms": 10, "hops": 1} | changes
    return msgspec.msgpack.encode(list(message.values()))


GOOD = ["x", "FP32", [2, 2], bytes(16)]


@pytest.mark.parametrize(
    "tensor",
    [
        ["x", "FP32", [2, 2], bytes(15)],
        ["x", "FP32", [2, 3], bytes(16)],
        ["x", "FP32", [2**20, 2**20, 2**20], bytes(16)],
        ["x", "FP32", [0, 2], b""],
        ["x", "FP32", [-2, -2], bytes(16)],
        ["x", "FP32", [], bytes(4)],
        ["x", "FP32", [1] * 9, bytes(4)],
        ["x", "FLOAT", [2, 2], bytes(16)],
        ["", "FP32", [2, 2], bytes(16)],
        ["x", "BYTES", [2], b"\x01\0\0\0a"],
        ["x", "BYTES", [1], b"\xff\xff\xff\x7fa"],
        ["x", "BYTES", [1], b"\x01\0\0"],
        ["x", "BYTES", [2**20, 2**20], b"\x01\0\0\0a"],
    ],
)
def test_tensors_that_lie_are_refused(tensor: list[Any]) -> None:
    with pytest.raises(WireError, match=r"\.$"):
        read_ask(ask_of(tensor))


@pytest.mark.parametrize(
    "changes",
    [
        {"hops": HOPS + 1},
        {"hops": 0},
        {"left_ms": -1},
        {"model": "../../etc"},
        {"id": "x" * 65},
        {"tensors": []},
        {"tensors": [GOOD] * 65},
        {"tensors": [GOOD, GOOD]},
        {"tensors": [GOOD, ["y", "FP32", [3, 1], bytes(12)]]},
    ],
)
def test_asks_out_of_bounds_are_refused(changes: dict[str, Any]) -> None:
    read_ask(ask_of(GOOD))
    with pytest.raises(WireError, match=r"\.$"):
        read_ask(ask_of(GOOD, **changes))


def test_what_is_too_large_is_neither_sent_nor_read() -> None:
    with pytest.raises(WireError, match="too large for the link"):
        packed(OffloadedRows("m", "1", values({"x": np.zeros((1, LARGEST), np.uint8)}), 1))
    with pytest.raises(WireError, match="is refused"):
        read_ask(bytes(LARGEST + 1))


def test_any_byte_is_a_truth_value() -> None:
    assert arrays(read_ask(ask_of(["x", "BOOL", [3], b"\x00\x01\x07"]))[0].tensors)["x"].tolist() == [False, True, True]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.binary(max_size=200) | st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=4)))
def test_noise_and_damage_are_a_message_or_an_error(noise: bytes | tuple[int, bytes]) -> None:
    if isinstance(noise, bytes):
        data = noise
    else:
        whole = bytearray(
            packed(OffloadedRows("m", "1", values({"x": np.ones((2, 2)), "s": np.array([b"a", b"bc"], object)}), 9))
        )
        whole[noise[0] : noise[0] + len(noise[1])] = noise[1]
        data = bytes(whole)
    for read in (read_ask, read_answer):
        with suppress(WireError):
            read(data)
