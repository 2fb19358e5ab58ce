"""Tensors in JSON: whichever way numbers are parsed, they are the same, and so is what is said of what is none."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from fogline.inference.card import Card, Tensor
from fogline.serving.protocol import rest, tensors
from fogline.serving.protocol.errors import ProtocolError
from fogline.serving.protocol.rest import read_request
from fogline.serving.protocol.signature import ModelSignature
from fogline.serving.protocol.tensors import read_json

TWO = ModelSignature(
    Card(
        model="m",
        version=1,
        created=0.0,
        inputs=tuple(Tensor(name, "FP32", (-1,)) for name in "ab"),
        outputs=(Tensor("y", "FP32", (-1,)),),
    )
)
KINDS = {"FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
ODD = [
    "1e39",
    "1e309",
    "65520.0",
    "true",
    "null",
    '"1"',
    "[1]",
    "01",
    "1.",
    "",
    "-",
    "NaN",
    "1 2",
    "36893488147419103232",
]


def numbers(rng: random.Random, count: int) -> list[str]:
    """Numbers as people and programs write them."""
    forms = ("%r", "%.3g", "%.20e", "%.0f", " %r ", "%r\n")
    return [rng.choice(forms) % (rng.gauss(0.0, 1.0) * 10.0 ** rng.randint(-3, 3)) for _ in range(count)]


@pytest.mark.parametrize("datatype", KINDS)
@pytest.mark.parametrize("count", [1, 7, 20_000])
def test_flat_numbers_are_those_of_python(datatype: str, count: int) -> None:
    written = numbers(random.Random(count), count)
    array = read_json("x", datatype, (count,), f" [{','.join(written)}] ".encode())
    expected = np.array([float(text) for text in written]).astype(KINDS[datatype])
    assert array.dtype == expected.dtype
    assert np.array_equal(array, expected)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_wrong_is_said_wherever_it_stands(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answer or the same sentence as where every number becomes an object, also at the ends of parts."""
    rng = random.Random(seed)
    monkeypatch.setattr(tensors, "PART", 64)
    for _ in range(50):
        count = rng.randint(1, 40)
        written = numbers(rng, count)
        if rng.random() < 0.7:
            written[rng.randrange(count)] = rng.choice(ODD)
        data = f"[{','.join(written)}{rng.choice([']', ']', ']', '', ',]', ']]', '] 1'])}".encode()
        datatype = rng.choice([*KINDS, "INT64"])
        count = rng.choice([count, count, count, count - 1, count + 1, 2**40])
        found = outcome(datatype, count, data)
        with monkeypatch.context() as plain:
            plain.setattr(tensors, "_flat_floats", lambda dtype, count, data: None)
            assert outcome(datatype, count, data) == found, data


def outcome(datatype: str, count: int, data: bytes) -> bytes | str:
    try:
        return read_json("x", datatype, (count,), data).tobytes()
    except ProtocolError as error:
        return str(error)


def test_the_parser_is_not_led_astray_by_lists_within() -> None:
    with pytest.raises(ProtocolError):
        read_json("x", "FP32", (3,), b"[1, [2, 3]]")
    nested = json.dumps([[0.5, 1.5], [2.5, 3.5]]).encode()
    assert read_json("x", "FP32", (2, 2), nested).tolist() == [[0.5, 1.5], [2.5, 3.5]]


@pytest.mark.parametrize("seed", range(20))
def test_a_large_request_is_read_like_a_small_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keys, strings and lists stand around its numbers."""
    rng = random.Random(seed)
    for _ in range(50):
        body = written(rng)
        monkeypatch.setattr(rest, "LARGE", 1 << 30)
        expected = asked(body)
        monkeypatch.setattr(rest, "LARGE", 0)
        found = asked(body)
        assert found == expected or {found[:4], expected[:4]} == {"The "}, body
    assert asked(b'{"inputs":[' + tensor("a", "[0.5, 1.5]") + b"," + tensor("b", '"data"') + b"]}").startswith("The ")


def written(rng: random.Random) -> bytes:
    lists = [
        "[0.5, 1.5]",
        "[ 1,2 ]",
        "[[0.5],[1.5]]",
        "[1,,2]",
        "[1]",
        "[",
        '["1", "]"]',
        "7",
        '"[1, 2]"',
        "[]",
        "[1, 2",
    ]
    odd = [b'"data":[1, 2],', b'"x\\"data": [3, 4],', b'"s":"\\"data\\": [5, 6]",', b'"data" : [7, 8] ,', b""]
    inputs = b",".join(tensor(name, rng.choice(lists[: rng.choice((2, 11))])) for name in "ab"[: rng.randint(1, 2)])
    return b"{" + rng.choice(odd) + b'"inputs":[' + inputs + b'],"parameters":{' + rng.choice(odd) + b'"y":1}}'


def tensor(name: str, data: str) -> bytes:
    return b'{"name":"%b","shape":[2],"datatype":"FP32","data" :\n%b}' % (name.encode(), data.encode())


def asked(body: bytes) -> str:
    """What a body asks, or why it asks nothing."""
    try:
        ask = read_request(TWO, body, None)
    except ProtocolError as error:
        return str(error)
    return str({name: array.tolist() for name, array in sorted(ask.inputs.items())})
