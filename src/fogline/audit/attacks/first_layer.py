"""Examples from the movement of a first dense layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fogline.audit.findings import Finding, NotApplicableError
from fogline.audit.knowledge import continuous
from fogline.audit.looking import on_every_view, rebuilt
from fogline.audit.registry import ATTACKS
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View
from fogline.params import Spec
from fogline.privacy.attacks.first_layer import candidates

Movements = tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]


@ATTACKS.add("first_layer")
def first_layer(scene: Scene) -> Iterator[Finding]:
    """Whole examples from the movement of a first dense layer, by a division (analytic inversion)."""

    def look(examples: int | None, seen: Observation, view: View) -> Finding:
        known = scene.known(view, examples)
        shape = known.inputs.shape[1:]
        weights, biases = dense_movements(seen.task.shared, view, int(np.prod(shape)))
        found = candidates(weights, biases, known.low, known.high).inputs[: min(view.samples, scene.settings.pictures)]
        inputs = np.clip(found, known.low, known.high).reshape(-1, *shape)
        pairs = known.compared(continuous(seen.examples(view)), inputs)
        return rebuilt("first_layer", scene, examples, view, pairs)

    return on_every_view("first_layer", scene, look)


def dense_movements(spec: Spec, view: View, features: int) -> Movements:
    """How the weights (units, features) and biases (units,) of a first dense layer moved.

    Raises:
        NotApplicableError: the first layer is none that sees an example as it is, or it has no bias.
    """
    trained = [entry for entry in spec.entries if entry.trainable]
    for weight, bias in list(pairwise(trained))[:1]:
        if len(weight.shape) == 2 and weight.shape[1] == features and bias.shape == weight.shape[:1]:
            moved = view.movement[spec.slices[weight.name]].reshape(weight.shape)
            return moved, view.movement[spec.slices[bias.name]]
    raise NotApplicableError("the model's first layer is no dense layer with a bias that sees the whole example")
