"""The clients that a data set has of itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.data.indices import Partition


def by_natural_id(ids: npt.ArrayLike) -> Partition:
    """One client per distinct id (a writer, a machine, a site); clients in the order of their sorted ids.

    ``ids`` (n,) says whose each example is; numbers become their decimal strings.

    Raises:
        ValueError: ``ids`` is empty or not one-dimensional.
    """
    array = np.asarray(ids)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"Natural ids must be one per example, not of shape {array.shape}.")
    names, owner = np.unique(array, return_inverse=True)
    return Partition.from_owner(owner, len(names), [str(name) for name in names.tolist()])
