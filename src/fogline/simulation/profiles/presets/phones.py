"""Phones, on links as volunteers had them or second by second as they were measured."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from fogline.data.loaders.folder import find_root
from fogline.simulation.profiles import tables
from fogline.simulation.profiles.presets import DEVICE_PRESETS

DATA_SET = "network_device_traces"
PHONES = "ai_benchmark_devices.json.gz"
TRACES = "5G-production-dataset.zip"


@DEVICE_PRESETS.add("phones")
def phones() -> dict[str, object]:
    """Phones: speeds and memory of models on the market, Wi-Fi of volunteers, there mostly at night."""
    path = find_root() / DATA_SET / PHONES
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


@DEVICE_PRESETS.add("traces")
def traces() -> dict[str, object]:
    """Phones on measured 5G and 4G links, second by second; needs the data set network_device_traces."""
    path = find_root() / DATA_SET / TRACES
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
