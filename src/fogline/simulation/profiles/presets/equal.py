"""Devices that do not differ."""

from __future__ import annotations

from fogline.simulation.profiles.presets import DEVICE_PRESETS


@DEVICE_PRESETS.add("equal")
def equal() -> dict[str, object]:
    """Equal devices: 10 GFLOP/s, 1 Gbit/s, no delay, always there."""
    return {"source": "equal devices, an ideal"}
