"""How many examples of each class an update speaks of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.audit.findings import NotApplicableError
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View
from fogline.data import Examples
from fogline.params import Params
from fogline.privacy.attacks.labels import Counts, apportioned, label_counts
from fogline.training.task import Task


def guessed_counts(scene: Scene, examples: int | None, seen: Observation, view: View) -> Counts:
    """(classes,) how many examples of each class the attack finds in a view.

    Raises:
        NotApplicableError: the model does not choose between classes, or its last layer does not show it.
    """
    classes = scene.data.classes
    some = scene.known(view, examples).examples
    if classes is None or some.y.ndim != 1 or some.y.dtype.kind == "f":
        raise NotApplicableError("the model does not give each example one of several classes")
    moved, is_bias = _last_layer(seen.task, view, classes)
    expected = _expected(seen, view, some, classes)
    plan = view.members[0].plan
    plain = scene.job.local.optimizer == "sgd" and not scene.job.local.momentum and is_bias and not _stretched(scene)
    total = sum(seen.task.data.at(member.client).count for member in view.members)
    return label_counts(moved, expected, total, plan.learning_rate * plan.steps if plain else None)


def guessed_labels(scene: Scene, examples: int | None, seen: Observation, view: View, count: int) -> npt.NDArray[Any]:
    """(count,) labels in proportion to what the attack finds in a view."""
    counts = apportioned(guessed_counts(scene, examples, seen, view) + 1e-9, count)
    return np.repeat(np.arange(len(counts)), counts)


def _stretched(scene: Scene) -> bool:
    """Whether something on the way may have made a movement shorter."""
    return scene.job.privacy is not None or any(tier.uplink for tier in scene.job.tree.tiers.values())


def _last_layer(task: Task, view: View, classes: int) -> tuple[npt.NDArray[Any], bool]:
    """(classes,) how the last layer moved: its bias, or the sums of its weights where it has none."""
    spec = task.shared
    last = [entry for entry in spec.entries if entry.trainable and entry.name in spec.last_layer]
    for entry in last:
        if entry.shape == (classes,):
            return view.movement[spec.slices[entry.name]], True
    for entry in last:
        if len(entry.shape) == 2 and entry.shape[0] == classes:
            return view.movement[spec.slices[entry.name]].reshape(entry.shape).sum(1), False
    raise NotApplicableError("the model's last layer does not have an output for each class")


def _expected(seen: Observation, view: View, some: Examples, classes: int) -> npt.NDArray[Any]:
    """(classes,) mean probabilities that the model which went down gives, on examples of others."""
    found = probabilities(seen.task, seen.params(view, moved=False), some)
    return np.full(classes, 1 / classes) if found is None else found.mean(0)


def probabilities(task: Task, params: Params, examples: Examples) -> npt.NDArray[Any] | None:
    """(n, classes) of a PyTorch model that gives one output for each class; None of any other."""
    try:
        from fogline.audit.inversion import softmax_of
    except ImportError:  # Without PyTorch there is no such model.
        return None
    return softmax_of(task, params, examples)
