"""Profiles of devices by name, one file each: every file registers its own by a decorator.

Every figure that is an assumption of ours says so.
"""

from __future__ import annotations

from collections.abc import Callable

from fogline.plugins import Registry

DEVICE_PRESETS = Registry[Callable[[], dict[str, object]]](
    "preset", "fogline.simulation.profiles.presets", first="equal"
)
"""Functions that give the fields of a profile which the preset sets. One whose files are not here raises ValueError,
with a sentence."""
