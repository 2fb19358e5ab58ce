"""FedScale's table of device capacities."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from fogline.simulation.profiles.errors import ProfileError
from fogline.simulation.profiles.profile import DeviceProfile

KILOBIT = 125.0
"""Bytes."""


def fedscale_profile(
    path: Path | str, forward_mflop: float = 600.0, fields: Mapping[str, object] | None = None
) -> DeviceProfile:
    """A profile from ``client_device_capacity`` of FedScale (Lai et al., ICML 2022) as JSON or CSV.

    JSON: an object (or a list) of ``{"computation": ms, "communication": kbit_per_s}`` per client; CSV: the same
    two columns with a header. ``computation`` is the inference time of one example. FedScale counts three times
    that for training, as a backward pass takes two forward ones; with ``forward_mflop`` the cost of that
    inference, ``3 * forward_mflop`` MFLOP take ``3 * ms``, so the speed is ``1000 * forward_mflop / ms``. The
    default, 600 MFLOP, is MobileNetV2's on 224x224 images, and an assumption.

    Args:
        path: ``.json`` or ``.csv``. FedScale's own pickle is refused: reading a pickle can run any code.
        forward_mflop: MFLOP of the inference that was timed.
        fields: other fields of the profile.

    Raises:
        ProfileError: the file is of another kind or holds something else; one sentence.
    """
    path = Path(path)
    if path.suffix not in (".json", ".csv"):
        raise ProfileError(
            f"The file '{path}' is neither .json nor .csv; convert FedScale's pickle to JSON where you trust it."
        )
    try:
        rows = [_row(row) for row in _rows(path)]
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise ProfileError(
            f"The file '{path}' cannot be read as a table of 'computation' (ms) and 'communication' (kbit/s) "
            f"({type(wrong).__name__}: {wrong})."
        ) from None
    if not rows:
        raise ProfileError(f"The file '{path}' names no device.")
    bandwidth = tuple(KILOBIT * kilobits for _, kilobits in rows)
    speed = tuple(1000.0 * forward_mflop / ms for ms, _ in rows)
    table = {"speed": speed, "up": bandwidth, "down": bandwidth}
    return DeviceProfile.model_validate({"source": f"FedScale: {path.name}", "tables": (table,), **(fields or {})})


def _rows(path: Path) -> Iterable[object]:
    if path.suffix == ".json":
        content: object = json.loads(path.read_bytes())
        if isinstance(content, Mapping):
            return cast("Mapping[str, object]", content).values()
        return cast("list[object]", content)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _row(row: object) -> tuple[float, float]:
    table = cast("Mapping[str, float]", row)
    computation, communication = float(table["computation"]), float(table["communication"])
    if not 0 < computation < float("inf") or not 0 < communication < float("inf"):
        raise ValueError(f"both must be above 0, not {computation:g} and {communication:g}")
    return computation, communication
