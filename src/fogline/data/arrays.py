"""From what people have (lists, frames, tensors, arrays of any layout) to arrays as every backend takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fogline.data.inputs import Array

WIDER = {"u2": np.int32, "u4": np.int64, "u8": np.int64}
"""Unsigned whole numbers that PyTorch hardly knows, and the signed ones that hold them (labels and tokens are below
2**63)."""


def plain(values: Any, what: str) -> Array:
    """An array as training takes inputs: see :func:`read` and :func:`straight`; floats become float32."""
    array = read(values, what)
    return straight(array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array)


def straight(array: Array) -> Array:
    """In the machine's byte order, with rising strides, whole numbers signed; what is so is not copied."""
    if array.dtype.kind not in "fiub":
        return array
    array = array.astype(WIDER.get(array.dtype.str[1:]) or array.dtype.newbyteorder("="), copy=False)
    odd = any(stride < 0 or stride % array.itemsize for stride in array.strides)
    return np.ascontiguousarray(array) if odd else array


def text_of(array: Array) -> bool:
    """Whether an array holds text."""
    return array.dtype.kind in "US" or (array.dtype.kind in "OT" and all(isinstance(v, str) for v in array.ravel()))


def read(given: Any, what: str) -> Array:
    """An array of anything that NumPy can read, or of a tensor.

    Args:
        given: of any type and layout; not copied where it can be helped.
        what: what to call it in a sentence.

    Raises:
        ValueError: NumPy cannot read it, it is sparse, or values are masked out.
    """
    values: Any = given
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(
            f"{what} masks values out, and training sees no mask; fill them (inputs as with x.filled(0), labels with "
            "y.filled(-100), which stands for no truth) or leave them out."
        )
    if hasattr(values, "todense"):
        raise ValueError(f"{what} is a sparse matrix; give it as an array (x.toarray()).")
    if hasattr(values, "detach"):  # A tensor; PyTorch is not imported for it.
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() and values.element_size() == 2 else values
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"{what} is no array of one shape for all examples: {reason}.") from error
