"""Links by name: every file registers its own by a decorator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fogline.plugins import Registry

Sides = Mapping[str, Mapping[str, Any]]
"""Keys of a link's two directions, ``up`` and ``down``."""
LINK_PRESETS = Registry[Callable[[], Sides]]("preset", "fogline.lab.presets", first="lan")
"""Functions that give the keys which the preset sets."""
