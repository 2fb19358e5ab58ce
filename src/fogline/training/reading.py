"""What can only be read: how arrays, and what holds them, are handed to a developer's code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import numpy as np


def read_only(thing: Any) -> Any:
    """An array or a mapping of arrays that cannot be written to; anything else as it is."""
    if isinstance(thing, np.ndarray):
        view = cast("Any", thing).view()
        view.setflags(write=False)
        return view
    if isinstance(thing, (dict, Mapping)):  # Most are dictionaries, and that is seen at once.
        items = cast("Mapping[str, Any]", thing).items()
        return MappingProxyType({name: read_only(value) for name, value in items})
    return thing
