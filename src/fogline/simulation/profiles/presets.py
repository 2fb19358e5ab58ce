"""Profiles by name. Every figure that is an assumption of ours says so."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fogline.simulation.profiles import tables
from fogline.simulation.profiles.errors import nearest

FOLDER = "network_device_traces"
PHONES = "ai_benchmark_devices.json.gz"
TRACES = "5G-production-dataset.zip"


def presets() -> dict[str, str]:
    """The presets by name, each in one line."""
    return {name: (make.__doc__ or "").split("\n")[0] for name, make in PRESETS.items()}


def preset(name: str) -> dict[str, object]:
    """The fields of a profile that a preset sets.

    Raises:
        ValueError: there is no such preset, or its files are not here; one sentence.
    """
    make = PRESETS.get(name)
    if make is None:
        raise ValueError(f"there is no preset '{name}'{nearest(name, PRESETS)}")
    return make()


def data_folder() -> Path:
    """Where downloaded data sets lie: the environment's ``FOGLINE_DATA``, or else ``../shared/data``."""
    return Path(os.environ.get("FOGLINE_DATA") or Path("..", "shared", "data"))


def equal() -> dict[str, object]:
    """Equal devices: 10 GFLOP/s, 1 Gbit/s, no delay, always there."""
    return {"source": "equal devices, an ideal"}


def phones() -> dict[str, object]:
    """Phones: speeds and memory of models on the market, Wi-Fi of volunteers, there mostly at night."""
    path = data_folder() / FOLDER / PHONES
    found = path.is_file()
    scores, memory = _phone_models(path) if found else (tables.PHONE_SCORES, tables.PHONE_MEMORY_MB)
    return {
        "source": f"{len(scores)} phone {'models of ' + PHONES if found else 'classes, built in'}; FLASH's 19 links",
        "tables": (
            {"speed": tuple(tables.PHONE_SPEED * score for score in scores), "memory_mb": memory},
            {"down": tables.WIFI_DOWN, "up": tables.WIFI_UP},
        ),
        "jitter": 0.2,
        "rtt": {"lognormal": {"median": 0.04, "sigma": 0.5}},
        "availability": {"diurnal": {"share": {"uniform": [0.2, 0.6]}, "spread": 3.0, "peak": 2.0}},
        "dropout": 0.05,
        "compute_watts": {"lognormal": {"median": 3.0, "sigma": 0.3}},
        "radio_joules_per_mb": 0.5,
    }


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


def traces() -> dict[str, object]:
    """Phones on measured 5G and 4G links, second by second; needs the data set network_device_traces."""
    path = data_folder() / FOLDER / TRACES
    if not path.is_file():
        raise ValueError(f"the 5G traces are not at '{path}'; set FOGLINE_DATA to the folder of the data sets")
    base = phones()
    hardware = base.pop("tables")
    del base["rtt"]
    return {
        **base,
        "source": f"{str(base['source']).split(';')[0]}; traces of {TRACES}",
        "tables": hardware[:1] if isinstance(hardware, tuple) else (),
        "traces": str(path),
    }


PRESETS: dict[str, Callable[[], dict[str, object]]] = {
    "equal": equal,
    "phones": phones,
    "industrial": industrial,
    "traces": traces,
}


@cache
def _phone_models(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Float inference scores of the CPUs, and memory in MB, of the phones in FLASH's copy of ai-benchmark.com."""
    try:
        models: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
        scores = tuple(float(model["CPU_F_AI_Score"]) for model in models)
        memory = tuple(1024.0 * float(model["RAM"].removesuffix("GB")) for model in models)
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise ValueError(f"the list of phones at '{path}' cannot be read ({wrong})") from None
    return scores, memory
