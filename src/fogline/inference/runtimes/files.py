"""Reading the files of a version; what is wrong with one is a sentence."""

from __future__ import annotations

import numpy as np

from fogline.inference.card import Asset
from fogline.inference.runtimes.base import Array, Locate, ModelError
from fogline.params import map_arrays


def arrays_of(asset: Asset, locate: Locate, what: str) -> dict[str, Array]:
    """The arrays of a safetensors file, read from disk as they are looked at.

    Args:
        asset: the file.
        locate: where it lies.
        what: what people call it.

    Raises:
        ModelError: it is missing, or no such file.
    """
    try:
        arrays = map_arrays(locate(asset))
    except (OSError, ValueError) as error:
        raise ModelError(f"The {what} cannot be read: {str(error).rstrip('.')}.") from error
    return {name: np.require(array, requirements=["C", "A"]) for name, array in arrays.items()}
