"""The rules that ByzFL and we both have, each as the two call it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rules = str | list[str]
Call = tuple[str, dict[str, Any]]
"""A class of ByzFL's, and its parameters."""

F = 4
"""Of 20 updates, those that may lie."""
TRIMMED = f"trimmed_mean({F / 20})"
NNM: Call = ("NNM", {"f": F})
CLIPPED: Call = ("Clipping", {"c": 1000.0})
MEDIAN3: Call = ("GeometricMedian", {"nu": 0.1, "T": 3})

PAIRS: dict[str, tuple[Rules, Sequence[Call]]] = {
    "median": ("median", [("Median", {})]),
    "trimmed_mean": (TRIMMED, [("TrMean", {"f": F})]),
    "meamed": (f"meamed({F})", [("Meamed", {"f": F})]),
    # ByzFL counts one neighbour more than the paper.
    "krum": (f"krum({F}, neighbours={20 - F - 1})", [("Krum", {"f": F})]),
    "multi_krum": (f"multi_krum({F}, neighbours={20 - F - 1})", [("MultiKrum", {"f": F})]),
    "geometric_median": ("geometric_median(0.1, 3)", [MEDIAN3]),
    "centered_clipping": ("centered_clipping(1000.0)", [("CenteredClipping", {"tau": 1000.0})]),
    "norm_bound": (["norm_bound(1000.0)", "mean"], [CLIPPED, ("Average", {})]),
    "nnm, mean": ([f"nnm({F})", "mean"], [NNM, ("Average", {})]),
    "nnm, trimmed_mean": ([f"nnm({F})", TRIMMED], [NNM, ("TrMean", {"f": F})]),
    "nnm, geometric_median": ([f"nnm({F})", "geometric_median(0.1, 3)"], [NNM, MEDIAN3]),
    "norm_bound, nnm, trimmed_mean": (
        ["norm_bound(1000.0)", f"nnm({F})", TRIMMED],
        [CLIPPED, NNM, ("TrMean", {"f": F})],
    ),
}  # fmt: skip

ALONE: dict[str, Rules] = {
    "bulyan": f"bulyan({F})",
    "geometric_median, 100 iterations": "geometric_median",
    "dnc": f"dnc({F})",
    "flame": "flame",
    "bucketing, median": ["bucketing(2)", "median"],
}
