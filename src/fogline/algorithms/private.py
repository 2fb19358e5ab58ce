"""What a method keeps on devices, of a task's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from fogline.algorithms.base import Algorithm
from fogline.params import Params, SharedPart, Spec, Vector
from fogline.training.hook_calls import name_of, wrong
from fogline.training.kept_on_device import Home
from fogline.training.task import Task
from fogline.user_code.bugs import attempt, blame

T = TypeVar("T", bound=Task)


def keeps_private(algorithm: Algorithm) -> bool:
    """Whether devices have entries of their own, so that there is no whole model but on each of them."""
    return bool(algorithm.private) or type(algorithm).private_of is not Algorithm.private_of


def where_kept(algorithm: Algorithm) -> str | None:
    """That devices keep the model, or part of it, so that the cloud has no whole one; None if it has."""
    if not algorithm.global_model:
        return f"{type(algorithm).__name__} keeps a model on each device"
    return f"{type(algorithm).__name__} keeps part of the model on each device" if keeps_private(algorithm) else None


def with_home(task: T, algorithm: Algorithm, first: Callable[[], Params]) -> T:
    """The task as a method trains it: what is frozen, and what the method keeps on devices, does not travel.

    Args:
        task: model and data.
        algorithm: the method.
        first: gives the whole model before any training, the same on all nodes.

    Raises:
        ValueError: the method would keep nothing of this model, or all of it; a sentence.
        CodeError: the method's ``private_of`` is wrong.
    """
    part = SharedPart(task.spec, private_names(algorithm, task.spec))
    return task if part.shared is part.whole else task.with_home(Home(part, first))


def with_weights(task: Task, whole: Vector, weights: Vector) -> Vector:
    """A model (floats,) with other shared weights (P,)."""
    trained = task.spec.trainable
    head = weights if task.home is None else task.home.part.trained.put(weights, whole[:trained])
    return np.concatenate([head, whole[trained:]])


def private_names(algorithm: Algorithm, spec: Spec) -> frozenset[str]:
    """The entries that each device has of its own.

    Raises:
        ValueError: see :func:`with_home`.
        CodeError: the method's ``private_of`` is wrong.
    """
    if not keeps_private(algorithm):
        return frozenset()
    subject, entries = type(algorithm).__name__, {entry.name: entry for entry in spec.entries}
    given = attempt(lambda: list(algorithm.private_of(spec)))
    if isinstance(given, ValueError):
        raise ValueError(f"{subject} keeps nothing on devices: {given}") from given
    if isinstance(given, Exception):
        raise blame(name_of(algorithm, "private_of"), given) from given
    unknown = next((name for name in given if name not in entries), None)
    if unknown is not None:
        what = f"gives {unknown!r}, which is no entry of the model; it must give names of entries"
        raise wrong(algorithm, "private_of", what)
    private = frozenset(name for name in given if entries[name].role != "frozen")
    if not private:
        raise ValueError(f"{subject} keeps nothing on devices: all that it names is frozen")
    if all(entry.name in private for entry in spec.entries if entry.trainable):
        raise ValueError(
            f"{subject} keeps all that trains on devices, and nothing would be shared; name fewer of "
            f"{', '.join(entries)}"
        )
    return private
