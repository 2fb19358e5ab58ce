"""Gateways."""

from __future__ import annotations

from fogline.simulation.profiles.presets import DEVICE_PRESETS


@DEVICE_PRESETS.add("industrial")
def industrial() -> dict[str, object]:
    """Industrial gateways: small always-on computers on wired or mobile links; all figures are assumptions."""
    return {
        "source": "assumed gateways",
        "speed": {"lognormal": {"median": 8000.0, "sigma": 0.5}},
        "memory_mb": {"choice": [1024, 2048, 4096, 8192]},
        "down": {"lognormal": {"median": 6.25e6, "sigma": 0.5}},
        "up": {"lognormal": {"median": 2.5e6, "sigma": 0.5}},
        "rtt": {"lognormal": {"median": 0.015, "sigma": 0.5}},
        "loss": 0.0005,
        "dropout": 0.005,
        "compute_watts": {"lognormal": {"median": 8.0, "sigma": 0.3}},
        "radio_joules_per_mb": 0.1,
    }
