"""What a task finds of a model: its ``evaluate`` and its ``metrics`` are called here, with a look at what they give.

Both may be a developer's own. One that gives no numbers by name, or no headline, is a bug, whatever the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, cast

from fogline.data import Examples
from fogline.params import Params
from fogline.training.hook_calls import a
from fogline.training.method import Array
from fogline.training.metrics import Sums
from fogline.training.task import Task
from fogline.user_code.bugs import CodeError, line_of_definition, sure


def sums_of(task: Task, params: Params, examples: Examples) -> Sums:
    """A model's sums over examples; what ``evaluate`` raises passes, as the examples may be to blame.

    Raises:
        CodeError: it gives something else than numbers by name, or a ``count`` below 0.
    """
    return _sums(task, "evaluate", task.evaluate(params, examples))


def sums_of_outputs(task: Task, outputs: Array, examples: Examples) -> Sums:
    """The same for outputs (n, ...) that are not a model's own.

    Raises:
        CodeError: the task gives something else than numbers by name.
    """
    return _sums(task, "sums_of_outputs", task.sums_of_outputs(outputs, examples.y))


def sums_on_test(task: Task, params: Params, examples: Examples) -> Sums:
    """The same over the test set, or a part of it, for which no client is to blame.

    Raises:
        CodeError: ``evaluate`` raised, or gives something else than numbers by name.
    """
    return sure("judging the model on the test set", partial(sums_of, task, params, examples))


def metrics_of(task: Task, sums: Sums) -> dict[str, float]:
    """The metrics that sums come to, the headline among them unless sums leave open what outputs mean.

    Raises:
        CodeError: ``metrics`` raised (the error is the cause), or gives something else than numbers by name.
    """
    given = _numbers(task, "metrics", sure(_name(task, "metrics"), partial(task.metrics, sums)))
    if task.headline not in given and type(task).metrics is not Task.metrics:
        there = f"it gives no '{task.headline}', which is the headline; there are {', '.join(given) or 'none'}"
        raise _wrong(task, "metrics", there)
    return given


def names_of_sums(task: Task) -> tuple[str, ...]:
    """The names of all sums that a task's ``evaluate`` can give.

    Raises:
        ValueError: the task does not say them, or says those of another ``evaluate``, or in no order that is the same
            on every node; the middle of a sentence.
    """
    judges, says = (
        next(kind for kind in type(task).__mro__ if name in vars(kind)) for name in ("evaluate", "sum_names")
    )
    names = task.sum_names if issubclass(says, judges) else ()
    if not names:
        raise ValueError(
            f"task '{task.name}' does not say which sums its evaluate gives; say them by a property 'sum_names' beside "
            "it (of a FlowerTask: by metrics=[...])"
        )
    return in_one_order(names, f"{type(task).__name__}.sum_names")


def in_one_order(names: object, where: str) -> tuple[str, ...]:
    """Names of sums that every node has in the same order: a set has another one in each process.

    Args:
        names: as a task or a query says them.
        where: it does.

    Raises:
        ValueError: they are no list or tuple of texts, or have one twice; the middle of a sentence.
    """
    if not isinstance(names, list | tuple):
        raise ValueError(f"{where} is {a(names)}; it must be a list or a tuple of names, so that all have one order")
    given = cast("Sequence[object]", names)
    odd = next((name for name in given if not isinstance(name, str)), None)
    if odd is not None:
        raise ValueError(f"{where} has {odd!r} among the names, which must be text")
    told = cast("Sequence[str]", given)
    twice = next((name for name in told if told.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{where} has '{twice}' twice; name each sum once")
    return tuple(told)


def numbers_by_name(given: Any) -> dict[str, float]:
    """The same as plain numbers.

    Raises:
        TypeError: it is something else; a sentence.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"it gives {a(given)}; it must give a dictionary of numbers by name")
    numbers: dict[str, float] = {}
    for key, value in cast("Mapping[object, object]", given).items():
        if not isinstance(key, str) or not isinstance(value, Real):
            raise TypeError(f"it gives {a(value)} as {key!r}; it must give numbers, by names that are text")
        try:
            numbers[key] = float(value)
        except OverflowError:
            raise TypeError(f"it gives a whole number as {key!r} that is too large for a float") from None
    return numbers


def _sums(task: Task, method: str, given: Any) -> Sums:
    sums = _numbers(task, method, given)
    if sums.get("count", 0.0) < 0.0:
        raise _wrong(task, method, f"it gives {sums['count']:g} as 'count', which is of examples; it must be 0 or more")
    return sums


def _numbers(task: Task, method: str, given: Any) -> dict[str, float]:
    try:
        return numbers_by_name(given)
    except TypeError as error:
        raise _wrong(task, method, str(error)) from None


def _wrong(task: Task, method: str, what: str) -> CodeError:
    return CodeError(f"{_name(task, method)} is wrong: {what}", line_of_definition(getattr(type(task), method)))


def _name(task: Task, method: str) -> str:
    return f"{type(task).__name__}.{method}"
