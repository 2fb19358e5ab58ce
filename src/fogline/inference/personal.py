"""What a device has of its own of a model, and the whole that it makes of a version that all have in common.

A *part* is a file of the tensors with which a device was judged last and which are not those of the common model: a
head of its own, all weights of a model beside the common one, or what fine-tuning made. It never leaves the device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors

from fogline.inference.card import PersonalOrigin
from fogline.inference.runtimes.base import ModelError
from fogline.params import Params, load, map_arrays, save, save_arrays

JOB, ROUNDS = "personal.job", "personal.rounds"
"""Notes in the files of parts, and of models that were made with them."""
LONGEST = 200
"""Characters of a job's id: what a node's own job code wrote is shown to people."""


def write_part(path: Path, own: Params, common: Params, origin: PersonalOrigin) -> bool:
    """Write what a device has of its own; whether there is anything.

    Args:
        path: takes it.
        own: the model with which the device is judged.
        common: the one that it received; of the same layout.
        origin: where it comes from.
    """
    received = common.arrays()
    part = {name: array for name, array in own.arrays().items() if not np.array_equal(array, received[name])}
    if part:
        save_arrays(path, part, {JOB: origin.job, ROUNDS: str(origin.rounds)})
    return bool(part)


def origin_of(path: Path) -> PersonalOrigin:
    """Where a part, or what was made with it, comes from.

    Raises:
        ModelError: the file says nothing of that.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            notes = file.metadata() or {}
        return PersonalOrigin(notes[JOB][:LONGEST], int(notes[ROUNDS]))
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path.name} is no personal part of a model: {error}.") from error
    except (KeyError, ValueError):
        raise ModelError(
            f"{path.name} is no personal part of a model: it does not say of which job and round."
        ) from None


def combine(weights: Path, part: Path, out: Path) -> None:
    """Write a version's weights with a device's own part in their place.

    Args:
        weights: of the version.
        part: of the device.
        out: takes the whole.

    Raises:
        ModelError: they do not fit each other, or the part is not finite; the sentence names the tensor.
    """
    origin, whole = origin_of(part), load(weights)
    entries = {entry.name: entry for entry in whole.spec.entries}
    for name, array in map_arrays(part).items():
        entry = entries.get(name)
        if entry is None:
            raise ModelError(f"The personal part of {origin} has tensor '{name}', which the version has not.")
        if array.shape != entry.shape:
            raise ModelError(
                f"The personal part of {origin} has tensor '{name}' of shape {list(array.shape)}; the version's has "
                f"{list(entry.shape)}."
            )
        if not np.isfinite(array).all():
            raise ModelError(f"Tensor '{name}' of the personal part of {origin} is not finite.")
        whole.view(name)[...] = array
    save(out, whole, {JOB: origin.job, ROUNDS: str(origin.rounds)})
