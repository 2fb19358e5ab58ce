"""Which labels a device has, from how the last layer moved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.audit.findings import Finding
from fogline.audit.label_counts import guessed_counts
from fogline.audit.looking import on_every_view
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View
from fogline.privacy.attacks.labels import Counts, apportioned, overlap

LEAKS, HINTS = 0.5, 0.2
"""Of what a guess leaves to be known: how much an attack must know."""


@ATTACKS.add("labels")
def labels(scene: Scene) -> Iterator[Finding]:
    """How many examples of each class a device has, from the movement of the last layer (iDLG, and for batches)."""

    def look(examples: int | None, seen: Observation, view: View) -> Finding:
        views = seen.at(view.place, view.round)[: scene.settings.devices]
        right, guess = np.array([_right(scene, examples, seen, one) for one in views]).mean(0)
        gain = (right - guess) / max(1.0 - guess, 1e-9)
        return Finding(
            "labels",
            view.place,
            "leaks" if gain >= LEAKS else "hints" if gain >= HINTS else "holds",
            f"{100 * right:.0f} % of the labels read, where a guess has {100 * guess:.0f} %.",
            examples,
            len(view.members),
            {"right": float(right), "guess": float(guess)},
        )

    return on_every_view("labels", scene, look)


def _right(scene: Scene, examples: int | None, seen: Observation, view: View) -> tuple[float, float]:
    """The share of labels that the attack has right, and that of a guess from what others have."""
    found = guessed_counts(scene, examples, seen, view)
    truth = _counts(seen.examples(view).y, len(found))
    known = _counts(scene.known(view, examples).examples.y, len(found)) + 1e-9
    return overlap(found, truth), overlap(apportioned(known, int(truth.sum())), truth)


def _counts(y: npt.NDArray[Any], classes: int) -> Counts:
    return np.bincount(y[(y >= 0) & (y < classes)], minlength=classes).astype(np.int64)
