"""Links by name. All figures are assumptions of ours, rounded from what such links usually do; ``4g-measured`` alone
replays measurements."""

from __future__ import annotations

from typing import Any

_LAN = {"rate": "1Gbit", "delay": "0.3ms"}
_WIFI = {"delay": "3ms", "jitter": "2ms", "loss": 0.001}
_DSL = {"delay": "10ms", "jitter": "1ms", "loss": 0.0001}
_4G = {"delay": "25ms", "jitter": "8ms", "loss": 0.001}
_EDGE = {"delay": "60ms", "jitter": "30ms", "loss": 0.01, "queue": "64kB"}
_SATELLITE = {"delay": "300ms", "jitter": "10ms", "loss": 0.005, "queue": "256kB"}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "lan": {"up": _LAN, "down": _LAN},
    "wifi": {"up": {**_WIFI, "rate": "30Mbit"}, "down": {**_WIFI, "rate": "50Mbit"}},
    "dsl": {"up": {**_DSL, "rate": "10Mbit"}, "down": {**_DSL, "rate": "50Mbit"}},
    "4g": {"up": {**_4G, "rate": "8Mbit"}, "down": {**_4G, "rate": "25Mbit"}},
    "lte-edge": {"up": {**_EDGE, "rate": "500kbit"}, "down": {**_EDGE, "rate": "2Mbit"}},
    "satellite": {"up": {**_SATELLITE, "rate": "3Mbit"}, "down": {**_SATELLITE, "rate": "20Mbit"}},
    "lossy": {
        "up": {"rate": "20Mbit", "delay": "20ms", "loss": 0.05},
        "down": {"rate": "20Mbit", "delay": "20ms", "loss": 0.05},
    },
    "4g-measured": {"up": {"trace": "measured", "delay": "35ms"}, "down": {"trace": "measured", "delay": "35ms"}},
}

PRESET_NOTES = {
    "lan": "Wired office network: 1 Gbit/s, 0.6 ms there and back.",
    "wifi": "Home or factory Wi-Fi: 50 Mbit/s down, 30 up, 6 ms there and back, 0.1 % loss.",
    "dsl": "Wired internet access: 50 Mbit/s down, 10 up, 20 ms there and back.",
    "4g": "A good mobile link: 25 Mbit/s down, 8 up, 50 ms there and back, 0.1 % loss.",
    "lte-edge": "The edge of a mobile cell: 2 Mbit/s down, 0.5 up, 120 ms there and back, 1 % loss.",
    "satellite": "Geostationary satellite: 20 Mbit/s down, 3 up, 600 ms there and back, 0.5 % loss.",
    "lossy": "A bad radio link: 20 Mbit/s, 40 ms there and back, 5 % loss.",
    "4g-measured": "A measured 4G or 5G drive, second by second; needs the data set network_device_traces.",
}
"""Each preset in one line."""
