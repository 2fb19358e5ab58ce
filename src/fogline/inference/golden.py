"""Golden samples: a few inputs and what the model must answer to them, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fogline.inference.card import Card
from fogline.inference.runtimes.base import Array, Locate, ModelError, Runtime
from fogline.inference.runtimes.files import arrays_of

SMALLEST = 1e-6
"""Outputs that are all smaller than this are compared as if they were as large."""


def check(card: Card, runtime: Runtime, locate: Locate) -> None:
    """A node's self-test: the golden samples, all at once and the first one alone.

    Raises:
        ModelError: there are none or they cannot be run, or an output differs by more than the tolerance; it says
            which and by how much.
    """
    if card.golden is None:
        raise ModelError(f"Model '{card.model}' has no golden samples to be tested on.")
    arrays = arrays_of(card.golden, locate, "golden samples")
    inputs = {tensor.name: _golden(arrays, f"input/{tensor.name}") for tensor in card.inputs}
    outputs = {tensor.name: _golden(arrays, f"output/{tensor.name}") for tensor in card.outputs}
    variant = next((v for v in card.variants if runtime.name == f"onnx/{v.name}"), None)
    tolerance = card.tolerance if variant is None else variant.tolerance
    for count in dict.fromkeys((min(map(len, outputs.values())), 1)):
        given = runtime.run({name: array[:count] for name, array in inputs.items()})
        wanted = {name: array[:count] for name, array in outputs.items()}
        compare(wanted, given, tolerance, {name: peak(array) for name, array in outputs.items()})


def compare(
    wanted: Mapping[str, Array], given: Mapping[str, Array], tolerance: float, peaks: Mapping[str, float]
) -> None:
    """Compare outputs.

    Args:
        wanted: what they must be.
        given: what they are.
        tolerance: largest difference, relative to the peak.
        peaks: largest absolute value of each output.

    Raises:
        ModelError: one differs.
    """
    for name, right in wanted.items():
        here = given.get(name)
        if here is None or here.shape != right.shape:
            what = "is missing" if here is None else f"has shape {list(here.shape)}, not {list(right.shape)}"
            raise ModelError(f"Output '{name}' {what}.")
        error = difference(right, here, peaks[name])
        if not error <= tolerance:
            raise ModelError(
                f"Output '{name}' differs from what the model must answer by {error:.2g} of its largest value; "
                f"at most {tolerance:.2g} is right."
            )


def difference(right: Array, given: Array, peak: float) -> float:
    """Largest difference relative to the peak; infinite where a number is not finite, or texts differ."""
    if right.dtype.kind not in "fiub" or given.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(right, given) else np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        error = float(np.abs(given.astype(np.float64) - right.astype(np.float64)).max(initial=0.0))
    return error / max(peak, SMALLEST) if np.isfinite(error) else np.inf


def peak(array: Array) -> float:
    """The largest absolute value of an array."""
    return float(np.abs(array.astype(np.float64)).max(initial=0.0)) if array.dtype.kind in "fiub" else 1.0


def _golden(arrays: Mapping[str, Array], name: str) -> Array:
    array = arrays.get(name)
    if array is None or not array.ndim or not len(array):
        raise ModelError(f"The golden samples hold no '{name}'.")
    return array
