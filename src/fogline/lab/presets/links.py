"""Links as they usually are: all figures are assumptions of ours, rounded from what such links do.

``4g-measured`` alone replays measurements.
"""

from __future__ import annotations

from typing import Any

from fogline.lab.presets import LINK_PRESETS, Sides


@LINK_PRESETS.add("lan")
def lan() -> Sides:
    """Wired office network: 1 Gbit/s, 0.6 ms there and back."""
    return _sides("1Gbit", "1Gbit", delay="0.3ms")


@LINK_PRESETS.add("wifi")
def wifi() -> Sides:
    """Home or factory Wi-Fi: 50 Mbit/s down, 30 up, 6 ms there and back, 0.1 % loss."""
    return _sides("30Mbit", "50Mbit", delay="3ms", jitter="2ms", loss=0.001)


@LINK_PRESETS.add("dsl")
def dsl() -> Sides:
    """Wired internet access: 50 Mbit/s down, 10 up, 20 ms there and back."""
    return _sides("10Mbit", "50Mbit", delay="10ms", jitter="1ms", loss=0.0001)


@LINK_PRESETS.add("4g")
def lte() -> Sides:
    """A good mobile link: 25 Mbit/s down, 8 up, 50 ms there and back, 0.1 % loss."""
    return _sides("8Mbit", "25Mbit", delay="25ms", jitter="8ms", loss=0.001)


@LINK_PRESETS.add("lte-edge")
def lte_edge() -> Sides:
    """The edge of a mobile cell: 2 Mbit/s down, 0.5 up, 120 ms there and back, 1 % loss."""
    return _sides("500kbit", "2Mbit", delay="60ms", jitter="30ms", loss=0.01, queue="64kB")


@LINK_PRESETS.add("satellite")
def satellite() -> Sides:
    """Geostationary satellite: 20 Mbit/s down, 3 up, 600 ms there and back, 0.5 % loss."""
    return _sides("3Mbit", "20Mbit", delay="300ms", jitter="10ms", loss=0.005, queue="256kB")


@LINK_PRESETS.add("lossy")
def lossy() -> Sides:
    """A bad radio link: 20 Mbit/s, 40 ms there and back, 5 % loss."""
    return _sides("20Mbit", "20Mbit", delay="20ms", loss=0.05)


@LINK_PRESETS.add("4g-measured")
def measured() -> Sides:
    """A measured 4G or 5G drive, second by second; needs the data set network_device_traces."""
    side = {"trace": "measured", "delay": "35ms"}
    return {"up": side, "down": side}


def _sides(up: str, down: str, **both: Any) -> Sides:
    return {"up": {**both, "rate": up}, "down": {**both, "rate": down}}
