"""Which entries of a task's model a method trains and moves; all others are frozen."""

from __future__ import annotations

from typing import TypeVar

from fogline.algorithms.base import Algorithm
from fogline.training.hook_calls import name_of, wrong
from fogline.training.task import Task
from fogline.user_code.bugs import attempt, blame

T = TypeVar("T", bound=Task)


def with_trained(task: T, algorithm: Algorithm) -> T:
    """The task with what the method trains, and all else frozen.

    Raises:
        ValueError: the method is not for this model; a sentence.
        CodeError: the method's ``trained_of`` is wrong.
    """
    if type(algorithm).trained_of is Algorithm.trained_of:
        return task
    subject, spec = type(algorithm).__name__, task.spec
    given = attempt(lambda: frozenset(algorithm.trained_of(spec)))
    if isinstance(given, ValueError):
        raise ValueError(f"{subject} cannot train this model: {given}") from given
    if isinstance(given, Exception):
        raise blame(name_of(algorithm, "trained_of"), given) from given
    can = {entry.name for entry in spec.entries if entry.role != "buffer"}
    unknown = next((name for name in given if name not in can), None)
    if unknown is not None or not given:
        what = "nothing" if not given else f"{unknown!r}, which is no parameter of the model"
        raise wrong(algorithm, "trained_of", f"gives {what}; it must give names of parameters")
    if given == frozenset(spec.trained_names):
        return task
    return task.trains_only(given)
