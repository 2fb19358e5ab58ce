"""An array's bytes by their significance: all first bytes, all second bytes … Each plane compresses by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.codecs.payload import Bytes, Streams


def split(array: npt.NDArray[Any]) -> list[Bytes]:
    """The planes of a flat array, the lowest bytes first."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return list(np.ascontiguousarray(little.view(np.uint8).reshape(-1, array.itemsize).T))


def join(streams: Streams, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    """The flat array of ``count`` numbers whose planes come next.

    Raises:
        DeltaError: they do not.
    """
    array = np.empty((count, dtype.itemsize), np.uint8)
    for place in range(dtype.itemsize):
        array[:, place] = streams.next(count)
    return array.reshape(-1).view(dtype.newbyteorder("<")).astype(dtype, copy=False)
