"""Which labels a device has, from how the last layer moved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.audit.findings import ATTACKS, Finding, NotApplicableError
from fogline.audit.looking import on_every_view
from fogline.audit.scene import Observation, Scene
from fogline.audit.tap import View
from fogline.data import Examples
from fogline.params import Params
from fogline.privacy.attacks.labels import Counts, apportioned, label_counts, overlap
from fogline.training.task import Task

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
            f"{right:.0%} of the labels read, where a guess has {guess:.0%}.",
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


def _counts(y: npt.NDArray[Any], classes: int) -> Counts:
    return np.bincount(y[(y >= 0) & (y < classes)], minlength=classes).astype(np.int64)
