"""Kept samples that have a label by now, for the next training round on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fogline.data import Examples
from fogline.inference.runtimes.base import Array
from fogline.params import load_arrays
from fogline.serving.quality.samples import stored


def labelled(folder: Path, name: str = "") -> Examples:
    """The samples that were labelled, as examples to train on; of none, ``count`` is 0.

    Samples of another shape than the newest one's are left out.

    Args:
        folder: the sample store's.
        name: of the input that becomes ``x``; it may be left out where the model has one.

    Returns:
        ``x`` (n, ...) and ``y`` (n,): int64 where all labels are whole numbers, otherwise float32.

    Raises:
        ValueError: the samples have several inputs, and no name says which.
    """
    found = sorted((notes.at, path, notes.label) for path, notes in stored(folder) if notes.label is not None)
    samples = [(_input(load_arrays(path), name, folder), label) for _, path, label in found]
    if not samples:
        return Examples(np.zeros((0,), np.float32), np.zeros((0,), np.int64))
    shape = samples[-1][0].shape
    fitting = [(x, label) for x, label in samples if x.shape == shape]
    labels = np.array([label for _, label in fitting])
    return Examples(
        np.stack([x for x, _ in fitting]), labels.astype(np.int64 if labels.dtype.kind in "iu" else np.float32)
    )


def _input(inputs: Mapping[str, Array], name: str, folder: Path) -> Array:
    if not name and len(inputs) == 1:
        return next(iter(inputs.values()))
    if name not in inputs:
        raise ValueError(f"The samples in {folder} have the inputs {', '.join(sorted(inputs))}; say which one is x.")
    return inputs[name]
