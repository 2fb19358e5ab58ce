"""Arrays as people have them become arrays as training takes them, or are refused by client and reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fogline.data import Examples, FederatedData, Meaning, from_arrays, from_clients

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
WHOLE = RNG.integers(0, 200, (12, 3))
Y = np.arange(12) % 2


def frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


class Odd:
    """A view of a field of a structured array: its strides are no multiple of its numbers' size."""

    def __new__(cls, array: np.ndarray) -> Any:
        pairs = np.zeros(len(array), [("mark", "u1"), ("row", array.dtype, array.shape[1:])])
        pairs["row"] = array
        return pairs["row"]


LAYOUTS: dict[str, Any] = {
    "double": X.astype(np.float64),
    "half": X.astype(np.float16),
    "big-endian": X.astype(">f8"),
    "flipped": X[:, ::-1][:, ::-1].copy()[:, ::-1],
    "reversed": X[::-1].copy()[::-1],
    "fortran": np.asfortranarray(X),
    "read-only": frozen(X),
    "field": Odd(X),
    "broadcast": np.broadcast_to(X[:, :1], X.shape),
    "list": X.tolist(),
    "frame": pd.DataFrame(X),
    "tensor": torch.tensor(X, requires_grad=True),
    "bfloat16": torch.tensor(X).bfloat16(),
    "big-endian whole": WHOLE.astype(">i2"),
    "uint16": WHOLE.astype(np.uint16),
    "uint32": WHOLE.astype(">u4"),
    "uint64": WHOLE.astype(np.uint64),
    "uint8": WHOLE.astype(np.uint8),
    "bool": WHOLE > 100,
}


def both(x: Any, y: Any, **options: Any) -> list[FederatedData]:
    """Of clients, of shared arrays, and of functions."""
    halves = {"a": Examples(x[:6], y[:6]), "b": Examples(x[6:], y[6:])}
    lazy = {client: (lambda examples=examples: examples) for client, examples in halves.items()}
    parts = [np.arange(6), np.arange(6, 12)]
    return [
        from_clients("held", halves, **options),
        from_clients("lazy", lazy, **options),
        from_arrays("shared", x, y, parts, **options),
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_without_a_test_set_too(name: str) -> None:
    """What is judged is then what the clients have, together."""
    for data in both(LAYOUTS[name], Y, classes=2):
        x = data.pooled(range(2)).at(0).array
        assert x.dtype.isnative
        assert all(stride >= 0 for stride in x.strides)
        np.testing.assert_array_equal(x, np.concatenate([data.at(0).array, data.at(1).array]))


@pytest.mark.parametrize("name", LAYOUTS)
def test_any_array_becomes_its_plain_copy(name: str) -> None:
    given = LAYOUTS[name]
    plain = given.detach().float().numpy() if isinstance(given, torch.Tensor) else np.array(given)
    for data in both(given, Y, classes=2, test=Examples(given, Y)):
        assert data.test is not None
        for x in (data.at(1).array, data.test.array[6:]):
            assert x.dtype.isnative
            assert all(stride >= 0 for stride in x.strides)
            assert x.dtype.kind == ("f" if plain.dtype.kind == "f" else plain.dtype.kind.replace("u", "i")) or (
                x.dtype == np.uint8
            )
            np.testing.assert_array_equal(x, plain[6:].astype(x.dtype))
            torch.as_tensor(np.array(x))  # PyTorch knows the type.


@pytest.mark.parametrize(
    "y", [Y.astype(">i8"), Y.astype(np.uint8), Y.astype(bool), Y.tolist(), pd.Series(Y), Y[::-1][::-1]]
)
def test_labels_of_any_whole_type(y: Any) -> None:
    for data in both(X, y, classes=2):
        assert data.at(0).y.dtype == np.dtype(np.int64)
        assert data.at(0).y.tolist() == Y[:6].tolist()


def test_labels_that_are_names_are_numbered_by_the_meaning() -> None:
    y = np.where(Y, "yes", "no")
    for data in both(X, y, meaning=Meaning(2, ("no", "yes"))):
        assert data.at(0).y.tolist() == Y[:6].tolist()


def test_what_fits_is_not_copied() -> None:
    data = from_clients("own", {"a": Examples(X, Y)}, classes=2)
    assert np.shares_memory(data.at(0).x, X)
    converted = from_clients("double", {"a": Examples(X.astype(np.float64), Y)}, classes=2)
    assert converted.at(0).x is converted.at(0).x, "it is converted once, not at each load"


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X, np.where(Y, "yes", "no"), "class_names"),
        (X, Y / 1.0, "whole numbers 0..1, not float64"),
        (X.astype(object), Y, "astype"),
        (X + 1j, Y, "both must be numbers"),
        (np.ma.masked_less(X, 0), Y, "x masks values out, and training sees no mask; fill them"),
        (X, np.ma.masked_equal(Y, 0), "labels with y.filled(-100), which stands for no truth"),
        ([[1.0], [2.0, 3.0]] * 6, Y, "one shape"),
        (X, Y[:, None] + np.array([[0, 5]]), "label 5 lies outside 0..1"),
        ({"a": X, "b": X[:5]}, Y, "x['b'] has shape (5, 3)"),
        (X, np.where(Y, -1, 0), "ignored=-1"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_by_client(x: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match="Client 'ward'") as caught:
        from_clients("bad", {"ward": Examples(x, y)}, classes=2)
    assert said in str(caught.value)


def test_labels_may_mark_what_has_no_truth() -> None:
    y = np.array([0, 1, -100, 255] * 3)
    for data in both(X, y, classes=2):
        assert data.at(0).y.tolist() == y[:6].tolist()
    own = np.where(y < 0, -1, np.minimum(y, 1))
    for data in both(X, own, meaning=Meaning(2, ignored=-1)):
        assert data.at(0).y.tolist() == own[:6].tolist()


def test_soft_labels_stay_shares() -> None:
    shares = np.full((12, 2), 0.5)
    for data in both(X, shares, classes=2):
        assert data.at(0).y.dtype == np.float32
        assert data.at(0).y.shape == (6, 2)


def test_several_inputs_are_kept_together() -> None:
    for x in ((X, WHOLE), {"numbers": X, "tokens": WHOLE}):
        data = from_arrays("two", x, Y, [np.arange(6), np.arange(6, 12)], classes=2)
        parts = data.at(1).x
        assert isinstance(parts, tuple | dict)
        numbers, tokens = parts if isinstance(parts, tuple) else parts.values()
        np.testing.assert_array_equal(numbers, X[6:])
        np.testing.assert_array_equal(tokens, WHOLE[6:])
        assert data.at(1).part(slice(2)).count == 2
        with pytest.raises(ValueError, match="several arrays"):
            _ = data.at(1).array
