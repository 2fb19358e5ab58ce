"""Amounts as people read them."""

from __future__ import annotations

import math

from fogline.monitoring.record import Row


def human_bytes(amount: float) -> str:
    """Bytes with a decimal prefix: ``1.2 MB``."""
    return _scaled(amount, "B", 0)


def human_joules(amount: float) -> str:
    """Joules with a decimal prefix: ``3.4 kJ``."""
    return _scaled(amount, "J", 1) if abs(amount) >= 1 or amount == 0 else f"{1000 * amount:.3g} mJ"


def human_seconds(amount: float) -> str:
    """A duration in its two largest units: ``2 h 13 min``, ``4.2 s``."""
    if not math.isfinite(amount):
        return "?"
    if amount < 60:
        return f"{amount:.1f} s" if amount >= 0.1 or amount == 0 else f"{1000 * amount:.3g} ms"
    total = round(amount)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(i for i, (_, size) in enumerate(units) if total >= size)
    large, small = units[first], units[first + 1] if first < 3 else None
    rest = total % large[1] // small[1] if small else 0
    return f"{total // large[1]} {large[0]}" + (f" {rest} {small[0]}" if small and rest else "")


def human_metric(name: str, value: float, unit: str = "") -> str:
    """A metric: accuracies in percent, others with four digits and their unit."""
    return f"{100 * value:.2f} %" if is_share(name) else f"{value:.4g} {unit}".rstrip()


def human_difference(name: str, value: float, unit: str = "") -> str:
    """How far two values of a metric are apart: accuracies in percentage points."""
    return f"{100 * abs(value):.2f} points" if is_share(name) else f"{abs(value):.4g} {unit}".rstrip()


def is_share(name: str) -> bool:
    """Whether a metric is a share of examples, best read in percent."""
    return "accuracy" in name or name == "attack_success"


def axis_label(name: str, unit: str, where: str = "") -> str:
    """A metric with its unit, for an axis or a column."""
    unit = "%" if is_share(name) else unit
    return f"{name}{where} ({unit})" if unit else f"{name}{where}"


def _scaled(amount: float, unit: str, decimals: int) -> str:
    if not math.isfinite(amount):
        return "?"
    prefixes = ("", "k", "M", "G", "T", "P")
    scale = 0
    while abs(amount) >= 999.5 and scale < len(prefixes) - 1:
        amount /= 1000
        scale += 1
    digits = decimals if scale == 0 else 0 if abs(amount) >= 99.95 else 1
    return f"{amount:.{digits}f} {prefixes[scale]}{unit}"


def traffic(row: Row) -> dict[str, tuple[float, float]]:
    """Bytes (down, up) so far on the links below each tier, the root first."""
    tiers = dict.fromkeys(key.partition("/")[2] for key in row if key.startswith(("down/", "up/")))
    return {tier: (row.get(f"down/{tier}", 0.0), row.get(f"up/{tier}", 0.0)) for tier in tiers}
